"""Test a model: ``python tools/test.py CONFIG CHECKPOINT [--tta] [--show-dir DIR]``."""

import argparse
from copy import deepcopy

from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import METRICS, RUNNERS

import mmext  # noqa: F401  (lets configs inherit from 'mmext::...' and 'mmseg::...')
from mmext.engine.cli import add_common_arguments, load_config


def parse_args() -> argparse.Namespace:
    """Parse the command line.

    Raises:
        SystemExit: With usage, when an argument cannot be used.
    """
    parser = argparse.ArgumentParser(description="Test (and evaluate) a model")
    add_common_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", metavar="FILE.pkl", help="write all predictions to a pickle file")
    parser.add_argument("--show", action="store_true", help="show predictions in a window")
    parser.add_argument(
        "--show-dir", help="write images with predictions to <work dir>/<time>/<SHOW_DIR>"
    )
    parser.add_argument("--wait-time", type=float, default=2, help="seconds per image with --show")
    parser.add_argument(
        "--tta", action="store_true", help="test-time augmentation (default: left-right flips)"
    )
    args = parser.parse_args()
    if args.out is not None and not args.out.endswith((".pkl", ".pickle")):
        parser.error(f"--out {args.out}: expected a file name that ends with .pkl")
    return args


def apply_visualization(cfg: Config, args: argparse.Namespace) -> None:
    """Turn the visualisation hook on.

    Raises:
        ValueError: The config has no visualisation hook to turn on.
    """
    hook = cfg.get("default_hooks", {}).get("visualization")
    if hook is None:
        raise ValueError(
            f"--show / --show-dir: {args.config} has no default_hooks.visualization. Add "
            "visualization=dict(type='DetVisualizationHook') (or its like) to default_hooks."
        )
    hook.update(draw=True)
    if args.show:
        hook.update(show=True, wait_time=args.wait_time)
    if args.show_dir:
        hook.update(test_out_dir=args.show_dir)


def apply_tta(cfg: Config) -> None:
    """Wrap the model and replace the test pipeline for test-time augmentation.

    A config of mmdet's scope without ``tta_model`` and ``tta_pipeline`` gets left-right flips.

    Raises:
        ValueError: Another scope's config without ``tta_model`` and ``tta_pipeline``.
    """
    if "tta_model" not in cfg or "tta_pipeline" not in cfg:
        if cfg.get("default_scope") != "mmdet":
            raise ValueError("--tta: the config needs tta_model and tta_pipeline; add both.")
        nms = dict(nms=dict(type="nms", iou_threshold=0.6), max_per_img=100)
        cfg.setdefault("tta_model", dict(type="DetTTAModel", tta_cfg=nms))
        cfg.setdefault("tta_pipeline", _flip_pipeline(cfg))
    cfg.model = dict(cfg.tta_model, module=cfg.model)
    _innermost_dataset(cfg).pipeline = cfg.tta_pipeline


def _innermost_dataset(cfg: Config) -> dict:
    dataset = cfg.test_dataloader.dataset
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset


def _flip_pipeline(cfg: Config) -> list[dict]:
    *steps, pack = deepcopy(_innermost_dataset(cfg)["pipeline"])
    pack["meta_keys"] = (
        "img_id",
        "img_path",
        "ori_shape",
        "img_shape",
        "scale_factor",
        "flip",
        "flip_direction",
    )
    flips = [dict(type="RandomFlip", prob=1.0), dict(type="RandomFlip", prob=0.0)]
    return [*steps, dict(type="TestTimeAug", transforms=[flips, [pack]])]


def main() -> None:
    """Test."""
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        apply_visualization(cfg, args)
    if args.tta:
        apply_tta(cfg)
    runner = RUNNERS.build(cfg)
    if args.out is not None:
        # mmdet's variant encodes instance masks, which would fill the disk otherwise.
        detection = cfg.get("default_scope") in ("mmdet", "mmrotate")
        dump = METRICS.get("mmdet.DumpDetResults") if detection else DumpResults
        runner.test_evaluator.metrics.append(dump(out_file_path=args.out))
    runner.test()


if __name__ == "__main__":
    main()
