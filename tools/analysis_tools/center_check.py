"""What the centre check is worth: test a trained CenterNet with and without it.

    python tools/analysis_tools/center_check.py CONFIG CHECKPOINT

prints AP, AR and the false discovery rates of the CenterNet papers (1 - AP at IoU 0.05 to 0.5) for
every set that the config tests on. CenterNet++ (both heads) and CenterNetTriplet can do without the
check; what is left then is the pairing of corners alone.
"""

import argparse
import csv
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import RUNNERS

from mmext.engine.cli import add_common_arguments, load_config
from mmext.files import replacing

FIGURES = {
    "bbox_mAP": "AP",
    "bbox_mAP_50": "AP50",
    "bbox_AR@100": "AR100",
    "AF": "AF",
    "AF_5": "AF5",
    "AF_25": "AF25",
    "AF_50": "AF50",
    "AF_s": "AF small",
    "AF_m": "AF medium",
    "AF_l": "AF large",
}


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    return parser.parse_args()


def evaluators(cfg: Config) -> list[dict]:
    """Return COCO and false discovery metrics for every set that ``cfg`` tests on.

    Raises:
        ValueError: The config tests without an annotation file.
    """
    configured = cfg.test_evaluator
    metrics = []
    for metric in [configured] if isinstance(configured, dict) else configured:
        if "ann_file" not in metric:
            raise ValueError(
                f"test_evaluator {metric.get('type')!r} has no ann_file. Expected CocoMetric or "
                "mmext.CocoSubsetMetric with the COCO json that it evaluates."
            )
        name = metric.get("prefix") or Path(metric["ann_file"]).stem
        common = dict(ann_file=metric["ann_file"], prefix=name)
        items = ["mAP", "mAP_50", "AR@100"]
        metrics += [
            dict(type="mmext.CocoSubsetMetric", metric_items=items, **common),
            dict(type="mmext.FalseDiscoveryMetric", **common),
        ]
    return metrics


def without_check(cfg: Config) -> Config:
    """Return a copy of ``cfg`` whose model keeps every pair of corners.

    Raises:
        ValueError: The model has no centre check.
    """
    cfg = deepcopy(cfg)
    settings = cfg.model.test_cfg
    if "grouping" in settings:  # quarter boxes
        settings.grouping.center_check = False
    elif "center_check" in settings:  # triplets
        settings.center_check = None
    else:
        raise ValueError(
            f"model.type={cfg.model.type!r} has no centre check in its test_cfg. Expected "
            "mmext.CenterNetPlusPlus (test_cfg.grouping) or mmext.CenterNetTriplet "
            "(test_cfg.center_check)."
        )
    return cfg


def rows(metrics: dict[str, float], check: str) -> list[dict]:
    """Sort the figures of one test into a row per set.

    Args:
        metrics: ``set/figure`` to value.
        check: Name of the test.
    """
    sets: dict[str, dict] = {}
    for key, value in metrics.items():
        name, figure = key.rsplit("/", 1)
        if figure in FIGURES:
            row = sets.setdefault(name, {"set": name, "centre check": check})
            row[FIGURES[figure]] = value
    return list(sets.values())


def markdown_table(table: list[dict]) -> str:
    """Return ``table`` as markdown; figures that are absent or NaN stay empty."""
    columns = ["set", "centre check", *FIGURES.values()]
    lines = [columns, ["---"] * len(columns)]
    for row in table:
        cells = []
        for column in columns:
            value = row.get(column, "")
            number = isinstance(value, float)
            cells.append("" if value != value else f"{value:.3f}" if number else value)
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Test twice and print the table."""
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    cfg.test_evaluator = evaluators(cfg)
    table = []
    for name, variant in (("with", cfg), ("without", without_check(cfg))):
        variant.experiment_name = f"{Path(cfg.work_dir).name}-{name}-centre-check"
        table += rows(RUNNERS.build(variant).test(), name)
    table.sort(key=lambda row: row["set"])
    print(markdown_table(table))
    out = Path(cfg.work_dir) / "center_check.csv"
    with replacing(out) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["set", "centre check", *FIGURES.values()])
        writer.writeheader()
        writer.writerows(table)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
