r"""Submissions for COCO's server, and its figures of boxes computed here, for each class too.

    python tools/test.py CONFIG CHECKPOINT --out work_dirs/x/predictions.pkl
    python tools/analysis_tools/coco_leaderboard.py work_dirs/x/predictions.pkl \
        --labels data/coco/annotations/instances_val2017.json [--report work_dirs/x/classes.csv]
    python tools/analysis_tools/coco_leaderboard.py work_dirs/x/predictions.pkl \
        --info data/coco/annotations/image_info_test-dev2017.json --name CPN --out work_dirs/x

The first form evaluates, the second writes the zip; both can be asked for at once. Predictions are
the .pkl of tools/test.py --out (load only your own: a pickle can run code).
"""

import argparse
from pathlib import Path

from mmext.leaderboards import coco
from mmext.leaderboards.coco_ap import evaluate, format_table, write_table


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--classes", nargs="+", help="of a set of your own, in the model's order")
    parser.add_argument("--labels", type=Path, help="COCO json to evaluate with")
    parser.add_argument("--report", type=Path, help="csv file for the table of the classes")
    parser.add_argument("--info", type=Path, help="COCO json of the images of the submission")
    parser.add_argument("--name", help="of the method, for the submission")
    parser.add_argument("--out", type=Path, help="folder for the submission")
    parser.add_argument("--image-set", default="test-dev2017", help="as the server calls it")
    args = parser.parse_args()
    submission = [args.info, args.name, args.out]
    if any(submission) and not all(submission):
        parser.error("a submission needs all of --info, --name and --out")
    if not args.info and not args.labels:
        parser.error("give --labels to evaluate, or --info, --name and --out to write a submission")
    if args.report and not args.labels:
        parser.error("--report needs --labels: there is nothing to report without evaluation")
    return args


def main() -> None:
    """Evaluate, write the submission, or both."""
    args = parse_args()
    detections = coco.load_predictions(args.predictions)
    if args.labels:
        result = evaluate(detections, args.labels, args.classes)
        print(format_table(result))
        if args.report:
            write_table(args.report, result)
            print(f"wrote {args.report}")
    if args.info:
        path = coco.write_submission(
            detections,
            args.out,
            args.info,
            name=args.name,
            classes=args.classes,
            image_set=args.image_set,
        )
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
