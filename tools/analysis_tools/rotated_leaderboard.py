r"""Submission files and the AP of rotated detections, computed here as the benchmarks compute it.

    python tools/test.py CONFIG CHECKPOINT --out work_dirs/x/predictions.pkl
    python tools/analysis_tools/rotated_leaderboard.py dota work_dirs/x/predictions.pkl \
        --out work_dirs/x/submission [--labels data/DOTA/val/labelTxt]
    python tools/analysis_tools/rotated_leaderboard.py hrsc PREDICTIONS --labels FOLDER --list FILE
    python tools/analysis_tools/rotated_leaderboard.py ucas-aod PREDICTIONS --labels FOLDER \
        --list FILE

Predictions are the .pkl of tools/test.py --out (load only your own: a pickle can run code), or a
zip or folder of Task1_<class>.txt files. Those of patches are merged into their images first.
"""

import argparse
import zipfile
from pathlib import Path

from mmext.leaderboards import dota, hrsc, ucas_aod
from mmext.leaderboards.rotated_ap import load_predictions
from mmext.rotated.evaluation import (
    Detections,
    GroundTruth,
    format_table,
    merge_patches,
    write_report,
)


def run_dota(args: argparse.Namespace) -> None:
    """Write the zips; with labels, print the table of each task and write the curves."""
    classes = tuple(args.classes) if args.classes else dota.class_names(args.version)
    by_task = {}
    for task in args.tasks:
        form = 2 if task == 2 and has_task2_files(args.predictions) else 1
        by_task[task] = load_predictions(args.predictions, classes, task=form)
    for task in args.tasks:
        if args.out is not None:
            files = dota.write_submission(
                by_task[task], args.out, classes, tasks=[task], merge_iou=args.merge_iou
            )
            print(f"wrote {files[0]}")
        if args.labels is None:
            continue
        whole = merge_patches(by_task[task], iou_threshold=args.merge_iou, horizontal=task == 2)
        truth = dota.read_ground_truth(args.labels, classes, read_list(args.list))
        result = dota.evaluate(
            whole, truth, classes, task=task, merge_iou=None, eval_mode=args.eval_mode
        )
        print(f"Task {task}, {len(truth.images)} images, {args.eval_mode}")
        print(format_table(result, classes))
        if args.report is not None:
            for threshold in (0.5, 0.75):
                folder = args.report / f"task{task}"
                write_report(folder, result, classes, threshold=threshold)
            print(f"wrote the table and the curves to {folder}")


def run_small(args: argparse.Namespace) -> None:
    """Print the figures of HRSC2016 or UCAS-AOD."""
    benchmark = hrsc if args.benchmark == "hrsc" else ucas_aod
    detections: Detections = load_predictions(args.predictions, benchmark.CLASSES)
    truth: GroundTruth = benchmark.read_ground_truth(args.labels, read_list(args.list))
    for name, value in benchmark.evaluate(detections, truth).items():
        print(f"{name}: {100 * value:.2f}")


def read_list(path: Path | None) -> list[str] | None:
    """Return the image names of a list file, one a line; None without a file."""
    if path is None:
        return None
    if not path.is_file():
        raise FileNotFoundError(f"image list {str(path)!r} does not exist")
    return path.read_text().split()


def has_task2_files(source: Path) -> bool:
    """Tell whether class files for Task 2 are there; otherwise Task 1's boxes answer it too."""
    if source.is_dir():
        return any(source.glob("Task2_*.txt"))
    if not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return any(Path(name).name.startswith("Task2_") for name in archive.namelist())


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="benchmark", required=True)
    command = commands.add_parser("dota", help="DOTA v1.0, v1.5, v2.0, and sets in its format")
    command.add_argument("predictions", type=Path)
    command.add_argument("--version", choices=dota.VERSIONS, default="1.0")
    command.add_argument("--classes", nargs="+", help="of a set of your own, in the model's order")
    command.add_argument("--tasks", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    command.add_argument("--out", type=Path, help="folder for Task1.zip and Task2.zip")
    command.add_argument("--labels", type=Path, help="folder of the whole images' txt files")
    command.add_argument("--list", type=Path, help="image names; all of --labels by default")
    command.add_argument("--merge-iou", type=float, default=0.1, help="NMS after merging")
    command.add_argument("--eval-mode", choices=("11points", "area"), default="11points")
    command.add_argument("--report", type=Path, help="folder for table and curves, csv and png")
    command.set_defaults(run=run_dota)
    for name, folder in (("hrsc", "Annotations"), ("ucas-aod", "of the list's names")):
        command = commands.add_parser(name, help="AP07 and AP12")
        command.add_argument("predictions", type=Path)
        command.add_argument("--labels", type=Path, required=True, help=f"folder {folder}")
        command.add_argument("--list", type=Path, required=True, help="image names, one a line")
        command.set_defaults(run=run_small)
    args = parser.parse_args()
    if args.benchmark == "dota" and args.out is None and args.labels is None:
        parser.error("give --out to write a submission, --labels to evaluate, or both")
    if args.benchmark == "dota" and args.report is not None and args.labels is None:
        parser.error("--report needs --labels: there is nothing to report without evaluation")
    args.run(args)


if __name__ == "__main__":
    main()
