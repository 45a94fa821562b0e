"""Write pseudo labels of a target's images with a trained segmentor.

python tools/generate_pseudo_labels.py CONFIG CHECKPOINT OUT --domain cityscapes

CONFIG is that of an adaptation, whose target DOMAIN gives images and pipeline, or one of mmseg's,
whose train_dataloader.dataset does. Run again after it was stopped, the command goes on.
"""

import argparse
import hashlib
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import ProgressBar

import mmext  # noqa: F401  (lets configs inherit from 'mmext::...' and 'mmseg::...')
from mmext.checkpoints import install_safe_loading
from mmext.checkpoints.safe_load import TRUST_FLAG
from mmext.engine import import_host
from mmext.segmentation.adaptation.labelling import TargetLabeller
from mmext.segmentation.pseudo_labels import PseudoLabelRule, PseudoLabelWriter


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config that the checkpoint was trained with")
    parser.add_argument("checkpoint", type=Path, help="checkpoint of tools/train.py")
    parser.add_argument("out", type=Path, help="folder of the pseudo labels")
    parser.add_argument("--domain", help="name of the target; needed where there are several")
    parser.add_argument(
        "--rule",
        choices=["class_median", "fixed"],
        default="class_median",
        help="class_median: threshold min(ceiling, middle of the class), BDL's code; fixed: the "
        "ceiling for all classes, BDL's paper",
    )
    parser.add_argument("--ceiling", type=float, default=0.9, help="the (highest) threshold")
    parser.add_argument(
        "--portion", type=float, default=0.5, help="rank of the threshold in its class"
    )
    parser.add_argument("--device", default=None, help="such as cuda:0; default: what there is")
    parser.add_argument(TRUST_FLAG, action="store_true", help="read CHECKPOINT unrestricted")
    return parser.parse_args()


def main() -> None:
    """Write the labels."""
    args = parse_args()
    install_safe_loading(trust=args.trust_checkpoint)
    cfg = Config.fromfile(args.config)
    import_host(cfg.get("default_scope", "mmengine"))
    try:
        labeller = TargetLabeller(cfg, args.checkpoint, domain=args.domain, device=args.device)
        writer = PseudoLabelWriter(
            args.out,
            labeller.num_classes,
            PseudoLabelRule(args.rule, args.ceiling, args.portion),
            dict(checkpoint=hashlib.sha256(args.checkpoint.read_bytes()).hexdigest()),
        )
        if writer.is_complete():
            print(f"the pseudo labels in {args.out} are complete")
            return
        bar = ProgressBar(3 * len(labeller), file=sys.stderr)
        content = labeller.write(writer, bar.update)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        sys.exit(f"\nerror: {error}")
    print(f"\n{'class':<18}{'threshold':>10}{'kept':>8}")
    rows = zip(labeller.classes, content["thresholds"], content["kept"], strict=True)
    for name, threshold, kept in rows:
        print(f"{name:<18}{threshold:>10.3f}{kept:>8.1%}")
    print(f"\n{content['images']} pseudo labels in {args.out}")


if __name__ == "__main__":
    main()
