import json

import numpy as np
import pytest

from mmext.detection import FalseDiscoveryMetric


@pytest.fixture
def metric(tmp_path):
    """One image with a 20 x 20 (small) and a 100 x 100 (large) tree."""
    boxes = [[10, 10, 20, 20], [50, 50, 100, 100]]
    coco = dict(
        images=[dict(id=1, width=200, height=200, file_name="1.png")],
        annotations=[
            dict(id=i, image_id=1, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0)
            for i, box in enumerate(boxes, 1)
        ],
        categories=[dict(id=1, name="tree")],
    )
    path = tmp_path / "trees.json"
    path.write_text(json.dumps(coco))
    metric = FalseDiscoveryMetric(str(path))
    metric.dataset_meta = dict(classes=("tree",))
    return metric


def results(boxes, scores, image_id=1):
    prediction = dict(
        img_id=image_id,
        bboxes=np.array(boxes, dtype=float).reshape(-1, 4),
        scores=np.array(scores, dtype=float),
        labels=np.zeros(len(boxes), int),
    )
    return [(dict(img_id=image_id), prediction)]


PERFECT = [[10, 10, 30, 30], [50, 50, 150, 150]]


def test_perfect_detections_discover_nothing_false(metric):
    figures = metric.compute_metrics(results(PERFECT, [0.9, 0.8]))
    assert figures["AF"] == figures["AF_5"] == figures["AF_50"] == pytest.approx(0)
    assert figures["AF_s"] == figures["AF_l"] == pytest.approx(0)
    assert np.isnan(figures["AF_m"])


def test_a_shifted_box_is_false_from_its_iou_on(metric):
    """The small box, shifted by half its width, has IoU 1/3: right at 0.05 to 0.30, 6 of 10."""
    shifted = [[20, 10, 40, 30], PERFECT[1]]
    figures = metric.compute_metrics(results(shifted, [0.5, 0.9]))
    assert figures["AF_5"] == figures["AF_25"] == pytest.approx(0)
    assert figures["AF_50"] == pytest.approx(1 - 51 / 101)  # recall 0.5 at precision 1
    assert figures["AF"] == pytest.approx(0.4 * (1 - 51 / 101))
    assert figures["AF_s"] == pytest.approx(0.4)
    assert figures["AF_l"] == pytest.approx(0)


def test_a_confident_false_box_costs_at_every_threshold(metric):
    boxes = [[160, 160, 190, 190], *PERFECT]
    figures = metric.compute_metrics(results(boxes, [0.95, 0.9, 0.8]))
    assert figures["AF_5"] == figures["AF_50"] == pytest.approx(1 - 2 / 3)


def test_no_detections_are_all_false_and_other_images_do_not_count(metric):
    assert set(metric.compute_metrics(results([], [])).values()) == {1.0}
    both = results(PERFECT, [0.9, 0.8]) + results([[0, 0, 9, 9]], [0.99], image_id=7)
    assert metric.compute_metrics(both)["AF"] == pytest.approx(0)
