"""Write an adapted segmentor as a plain config and checkpoint of mmseg's.

python tools/model_converters/export_segmentor.py CONFIG CHECKPOINT FOLDER
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import Config

import mmext  # noqa: F401  (lets configs inherit from 'mmext::...' and 'mmseg::...')
from mmext.engine import import_host
from mmext.segmentation.adaptation import export_segmentor


def main() -> None:
    """Export."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config of the adaptation")
    parser.add_argument("checkpoint", type=Path, help="checkpoint of tools/train.py")
    parser.add_argument("folder", type=Path, help="folder for segmentor.py and segmentor.pth")
    parser.add_argument(
        "--part",
        default="segmentor",
        help="which part of the model to export; segmentor.members.NAME: a model of an ensemble; "
        "experts.TARGET: an expert of several",
    )
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    import_host(cfg.get("default_scope", "mmengine"))
    try:
        written = export_segmentor(cfg, args.checkpoint, args.folder, part=args.part)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    print(f"{written[0]}\n{written[1]}")


if __name__ == "__main__":
    main()
