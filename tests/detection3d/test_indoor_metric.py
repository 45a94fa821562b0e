"""mAP and mAR: the official figures, cases that can be counted by hand, faults, files."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mmext.detection3d import IndoorMetric
from mmext.detection3d.average_precision import average_precision, match_scene
from mmext.detection3d.metrics import format_table
from mmext.detection3d.result_files import read_scene
from mmext.detection3d.structures import Boxes3D

GOLDEN = json.loads((Path(__file__).parents[1] / "data/points3d/map3d.json").read_text())
CLASSES = ("bed", "night stand", "chair", "table", "sofa")


def row(x, label, score=None):
    """A unit cube at x, as (class, box) or (class, box, score)."""
    box = [float(x), 0, 0, 1, 1, 1, 0]
    return (label, box) if score is None else (label, box, score)


def instances(rows, with_scores):
    boxes = Boxes3D(torch.tensor([r[1] for r in rows], dtype=torch.float64).reshape(-1, 7))
    found = dict(bboxes_3d=boxes, labels_3d=torch.tensor([r[0] for r in rows], dtype=torch.long))
    if with_scores:
        found["scores_3d"] = torch.tensor([r[2] for r in rows], dtype=torch.float64)
    return found


def samples(truths, predictions):
    return [
        dict(
            sample_idx=f"scene{i}",
            gt_instances_3d=instances(truth, False),
            pred_instances_3d=instances(pred, True),
        )
        for i, (truth, pred) in enumerate(zip(truths, predictions, strict=True))
    ]


def evaluate(data, classes=CLASSES, **options):
    metric = IndoorMetric(**options)
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, data)
    return metric.compute_metrics(metric.results)


@pytest.mark.parametrize("form", ["axis_aligned", "oriented"])
def test_official_figures(form):
    golden = GOLDEN[form]
    rows = [
        [
            [(r[0], [*r[1][:6], -r[1][6]], *r[2:]) for r in golden[kind][scene]]
            for scene in sorted(golden["gt"], key=int)
        ]
        for kind in ("gt", "pred")
    ]
    data = samples(*rows)
    found = evaluate(data)
    for threshold in ("0.25", "0.5"):
        official = golden["official_votenet"][threshold]
        name = f"{float(threshold):.2f}"
        assert found[f"mAP_{name}"] == pytest.approx(official["mAP"], abs=1e-9)
        assert found[f"mAR_{name}"] == pytest.approx(official["mAR"], abs=1e-9)
    assert found["num_classes"] == 5
    scenes = [
        match_scene(
            sample["pred_instances_3d"]["bboxes_3d"].tensor,
            sample["pred_instances_3d"]["labels_3d"].numpy(),
            sample["pred_instances_3d"]["scores_3d"].numpy(),
            sample["gt_instances_3d"]["bboxes_3d"].tensor,
            sample["gt_instances_3d"]["labels_3d"].numpy(),
        )
        for sample in data
    ]
    table = average_precision(scenes, 5, (0.25, 0.5))
    for row_index, threshold in enumerate(("0.25", "0.5")):
        official = golden["official_votenet"][threshold]
        for figure, values in (("ap", table.ap), ("recall", table.recall)):
            expected = [official[figure][str(label)] for label in range(5)]
            np.testing.assert_allclose(values[row_index], expected, rtol=0, atol=1e-9)


def test_counted_by_hand():
    truths = [[row(0, 0), row(5, 0)], [row(0, 0)]]
    # By score: right; the same object again (false); beside everything (false); right.
    found = [[row(0, 0, 0.9), row(0.1, 0, 0.8), row(9, 0, 0.7)], [row(0.2, 0, 0.6)]]
    figures = evaluate(samples(truths, found))
    assert figures["mAP_0.25"] == pytest.approx((1 + 2 / 4) / 3)
    assert figures["mAR_0.25"] == pytest.approx(2 / 3)
    assert figures["num_classes"] == 1


def test_a_match_needs_an_iou_above_the_threshold():
    # The upper half of a box: an IoU of exactly 0.5.
    half = [0.0, 0, 0, 1, 1, 2, 0], [0.0, 0, 0.5, 1, 1, 1, 0]
    data = samples([[(0, half[0])]], [[(0, half[1], 0.9)]])
    assert evaluate(data)["mAP_0.50"] == 0
    assert evaluate(data, iou_thrs=(0.499,))["mAP_0.50"] == 1


def test_no_second_choice():
    # The detection of the lower score overlaps both, but the better one is taken.
    truths = [[row(0, 0), row(0.9, 0)]]
    found = [[row(0, 0, 0.9), row(0.4, 0, 0.8)]]
    assert evaluate(samples(truths, found))["mAR_0.25"] == 0.5


def test_a_class_without_objects_is_no_nan():
    data = samples([[row(0, 0)]], [[row(0, 0, 0.9), row(0, 3, 0.9)]])
    assert evaluate(data)["mAP_0.25"] == 1
    assert evaluate(data)["num_classes"] == 1
    assert math.isnan(evaluate(data, official_nan=True)["mAP_0.25"])


def test_a_class_without_detections_is_zero():
    data = samples([[row(0, 0), row(3, 1)]], [[row(0, 0, 0.9)]])
    for official_nan in (False, True):
        assert evaluate(data, official_nan=official_nan)["mAP_0.25"] == 0.5


@pytest.mark.parametrize("truth", [[], [row(0, 0)]])
def test_nothing_found(truth):
    if truth:
        assert evaluate(samples([truth], [[]]))["mAP_0.25"] == 0
    else:
        with pytest.warns(UserWarning, match="no scene has an object"):
            assert math.isnan(evaluate(samples([truth], [[]]))["mAP_0.25"])


def test_equal_scores_keep_their_order():
    """Of the official code's unstable sort any order may come."""
    truths = [[row(0, 0)]]
    right_first = [[row(0, 0, 0.5), *[row(9, 0, 0.5)] * 40]]
    right_last = [[*[row(9, 0, 0.5)] * 40, row(0, 0, 0.5)]]
    assert evaluate(samples(truths, right_first))["mAP_0.25"] == 1
    assert evaluate(samples(truths, right_last))["mAP_0.25"] == pytest.approx(1 / 41)


def test_hull_sizes_of_the_official_code():
    box = [0.0, 0, 0, 2, 0.5, 1, math.pi / 4]
    data = samples([[(0, box)]], [[(0, box, 0.9)]])
    assert evaluate(data)["mAP_0.50"] == 1
    # The hull is 1.77 m each way: the box itself is less than a third of it.
    assert evaluate(data, hull_size_gt=True)["mAP_0.50"] == 0


def test_stage_ensembles_have_their_own_figures():
    data = samples([[row(0, 0)]], [[row(9, 0, 0.9)]])
    data[0]["pred_ensembles_3d"] = dict(last_three=instances([row(0, 0, 0.9)], True))
    found = evaluate(data)
    assert found["mAP_0.25"] == 0
    assert found["last_three_mAP_0.25"] == 1


def test_results_of_scenes_without_labels(tmp_path):
    data = samples([[]], [[row(1, 1, 0.25), row(2, 0, 0.75)]])
    del data[0]["gt_instances_3d"]
    assert evaluate(data, format_only=True, out_dir=str(tmp_path / "text")) == {}
    boxes, labels, scores = read_scene(tmp_path / "text/scene0.txt", CLASSES)
    assert labels.tolist() == [0, 1]
    assert scores.tolist() == [0.75, 0.25]
    np.testing.assert_allclose(boxes.centres[:, 0], [2, 1])
    options = dict(format_only=True, out_format="votenet", out_dir=str(tmp_path / "votenet"))
    evaluate(data, **options)
    lines = (tmp_path / "votenet/scene0_pred_map_cls.txt").read_text().splitlines()
    label, corners, score = lines[0].split()
    assert (label, score) == ("0", "0.75")
    corners = np.array(corners.split(","), float).reshape(8, 3)
    # x, -z, y of the lower corner (+, +): 2.5, 0.5, 0.5 out of 2.5, 0.5, -0.5.
    np.testing.assert_allclose(corners[0], [2.5, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"scene0 has no gt_instances_3d.*format_only"):
        evaluate(data)
    (tmp_path / "wrong.txt").write_text("chair 0.5 1 2 3\n")
    with pytest.raises(ValueError, match=r"wrong.txt, line 1: 'chair 0.5 1 2 3'"):
        read_scene(tmp_path / "wrong.txt", CLASSES)


def test_table_of_classes():
    data = samples([[row(0, 0), row(3, 1)]], [[row(0, 0, 0.9), row(0, 4, 0.9)]])
    metric = IndoorMetric()
    metric.process({}, data)
    table = average_precision([result[""] for result in metric.results], 5, (0.25, 0.5))
    text = format_table(table, CLASSES)
    rows = {
        line.split("|")[1].strip(): line.split("|")[2:-1]
        for line in text.splitlines()[3:-1]
        if line.startswith("|")
    }
    assert [cell.strip() for cell in rows["bed"]] == ["1", "1", *["100.00"] * 4]
    assert [cell.strip() for cell in rows["sofa"]] == ["0", "1", "-", "-", "-", "-"]
    assert [cell.strip() for cell in rows["mean of 2"]] == ["2", "2", *["50.00"] * 4]


def test_bad_options_and_predictions(tmp_path):
    for options, message in (
        (dict(iou_thrs=()), "iou_thrs is"),
        (dict(iou_thrs=(1.5,)), "iou_thrs is"),
        (dict(out_format="xml"), "out_format is 'xml'"),
        (dict(format_only=True), "needs out_dir"),
    ):
        with pytest.raises(ValueError, match=message):
            IndoorMetric(**options)
    data = samples([[row(0, 0)]], [[row(0, 0, float("nan"))]])
    with pytest.raises(ValueError, match=r"scene0 has predictions with NaN"):
        evaluate(data)
