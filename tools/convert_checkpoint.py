"""Convert the authors' weights: ``python tools/convert_checkpoint.py FAMILY SRC DST``."""

import argparse
import sys

from mmengine.config import DictAction

from mmext.checkpoints.convert import FAMILIES, convert_checkpoint
from mmext.checkpoints.safe_load import TRUST_FLAG


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Convert the authors' weights for mmext")
    parser.add_argument("family", choices=sorted(FAMILIES), help="kind of model")
    parser.add_argument("source", metavar="SRC", help="checkpoint of the authors' code")
    parser.add_argument("target", metavar="DST", help="file to write")
    parser.add_argument(
        "--config", help="check that all tensors fit the model of this config, and none is missing"
    )
    parser.add_argument(
        "--facts",
        nargs="+",
        action=DictAction,
        default={},
        metavar="KEY=VALUE",
        help="what SRC does not say; uformer: task=sidd or task=gopro, or patch_size=PIXELS; "
        "cyclegan: running_stats=drop (default) or running_stats=keep",
    )
    parser.add_argument(
        TRUST_FLAG,
        action="store_true",
        help="read SRC even if it could run code; only for files whose origin is known",
    )
    return parser.parse_args()


def main() -> None:
    """Convert, or say what did not match and exit with status 1."""
    args = parse_args()
    try:
        state_dict = convert_checkpoint(
            args.family,
            args.source,
            args.target,
            config=args.config,
            facts=args.facts,
            trust=args.trust_checkpoint,
        )
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {args.target}: {len(state_dict)} tensors")


if __name__ == "__main__":
    main()
