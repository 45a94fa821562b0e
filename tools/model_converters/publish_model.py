"""Make a trained checkpoint fit to hand out: weights and description only, named by its hash.

python tools/model_converters/publish_model.py work_dirs/NAME/iter_400.pth published/NAME.pth
"""

import argparse
import hashlib
import os
from pathlib import Path

import torch

from mmext.checkpoints.safe_load import TRUST_FLAG, load_untrusted


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="checkpoint of a training")
    parser.add_argument(
        "target", type=Path, help="file to write; -<first 8 digits of its SHA-256> joins its name"
    )
    parser.add_argument(
        TRUST_FLAG,
        action="store_true",
        help="read the source with the unrestricted unpickler, which can run any code",
    )
    return parser.parse_args()


def publish(source: Path, target: Path, *, trust: bool = False) -> Path:
    """Write what a user of the model needs of a training's checkpoint.

    With an ``EMAHook`` the state dict already holds the averaged weights; optimiser, schedule and
    logs are left out.

    Args:
        source: Checkpoint as ``tools/train.py`` writes it.
        target: File to write; the first eight digits of its SHA-256 are put behind its stem.
        trust: As for :func:`mmext.checkpoints.safe_load.load_untrusted`.

    Returns:
        The file that was written.

    Raises:
        ValueError: ``source`` holds no ``state_dict``.
    """
    checkpoint = load_untrusted(source, trust=trust)
    if "state_dict" not in checkpoint:
        raise ValueError(
            f"{source} has no 'state_dict' (it has {', '.join(map(repr, checkpoint))}). Expected a "
            "checkpoint that tools/train.py wrote."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    torch.save({key: checkpoint[key] for key in ("meta", "state_dict") if key in checkpoint}, part)
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    final = target.with_name(f"{target.stem}-{digest[:8]}.pth")
    os.replace(part, final)
    return final


def main() -> None:
    """Publish a checkpoint."""
    args = parse_args()
    final = publish(args.source, args.target, trust=args.trust_checkpoint)
    before, after = (path.stat().st_size / 1e6 for path in (args.source, final))
    print(f"{final} ({after:.1f} MB, from {before:.1f} MB)")


if __name__ == "__main__":
    main()
