"""IoU over class sets and domains."""

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from mmext.ops import confusion_matrix
from mmext.segmentation import UDAIoUMetric
from mmext.segmentation.datasets import CLASS_SETS
from mmext.segmentation.metrics import (
    format_table,
    iou_per_class,
    merge_classes,
    write_table,
)


def maps(seed=0, classes=19, size=(20, 30)):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, size)
    pred = np.where(rng.random(size) < 0.6, target, rng.integers(0, classes, size))
    target[rng.random(size) < 0.1] = 255
    return torch.from_numpy(pred), torch.from_numpy(target)


def sample(pred, target, **meta):
    found = dict(pred_sem_seg=dict(data=pred[None]), gt_sem_seg=dict(data=target[None]))
    return {**found, **meta}


def metric(classes="cityscapes_19", **options):
    found = UDAIoUMetric(**options)
    found.dataset_meta = dict(classes=CLASS_SETS[classes].names)
    return found


def test_iou_by_hand():
    matrix = np.array([[6, 2, 0, 0], [0, 0, 0, 0], [4, 0, 0, 0], [0, 0, 0, 0]])
    iou = iou_per_class(matrix)
    # Found; predicted though it is not there; there and never predicted; nowhere.
    np.testing.assert_allclose(iou[:3], [6 / 12, 0, 0])
    assert np.isnan(iou[3])


def test_merged_classes_by_hand():
    matrix = np.arange(9).reshape(3, 3)
    np.testing.assert_array_equal(
        merge_classes(matrix, [(0, 2), (1,)]), [[0 + 2 + 6 + 8, 1 + 7], [3 + 5, 4]]
    )


def test_figures_of_parts_use_the_whole_matrix():
    ours, host = metric(), IoUMetric()
    host.dataset_meta = ours.dataset_meta
    matrix = np.zeros((19, 19), int)
    samples = []
    for seed in range(3):
        pred, target = maps(seed)
        samples.append(sample(pred, target))
        matrix += confusion_matrix(pred, target, 19).numpy()
    ours.process({}, samples)
    host.process({}, samples)
    figures = ours.evaluate(3)
    expected = host.evaluate(3)
    assert figures["mIoU"] == pytest.approx(expected["mIoU"], abs=0.006)  # rounded there
    assert figures["aAcc"] == pytest.approx(expected["aAcc"], abs=0.006)
    iou = np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))
    sixteen = [*range(9), 10, 11, 12, 13, 15, 17, 18]
    thirteen = [index for index in sixteen if index not in (3, 4, 5)]
    assert figures["mIoU16"] == pytest.approx(100 * iou[sixteen].mean())
    assert figures["mIoU13"] == pytest.approx(100 * iou[thirteen].mean())
    assert figures["mIoU7"] > figures["mIoU"]
    assert set(figures) == {"mIoU", "aAcc", "mIoU16", "mIoU13", "mIoU7"}


def test_a_class_never_predicted_counts_as_zero():
    target = torch.tensor([[0, 0, 1, 1]])
    found = metric("streets_9")
    found.process({}, [sample(torch.zeros(1, 4).long(), target)])
    figures = found.evaluate(1)
    assert figures["mIoU"] == pytest.approx(100 * (0.5 + 0) / 2)
    assert set(figures) == {"mIoU", "aAcc"}


def test_images_without_a_labelled_pixel_count_nothing_and_such_a_domain_is_an_error():
    found = metric("streets_9")
    right, ignored = torch.tensor([[0, 1]]), torch.full((1, 2), 255)
    found.process({}, [sample(right, right, domain="day"), sample(right, ignored, domain="day")])
    assert found.evaluate(2)["mIoU"] == 100
    found.process({}, [sample(right, right, domain="day"), sample(right, ignored, domain="fog")])
    with pytest.raises(ValueError, match=r"each pixel of the labels of fog is 255"):
        found.evaluate(2)


def test_rows_of_domains_and_their_mean(tmp_path):
    file = tmp_path / "table.csv"
    found = metric("streets_9", out_file=str(file))
    right, wrong = torch.tensor([[0, 1]]), torch.tensor([[1, 0]])
    found.process({}, [sample(right, right, domain="day"), sample(wrong, right, domain="fog")])
    figures = found.evaluate(2)
    assert figures["day/mIoU"] == 100
    assert figures["fog/mIoU"] == 0
    assert figures["mIoU"] == 50
    rows = [line.split(",") for line in file.read_text().splitlines()]
    assert rows[0] == ["class", "day", "fog"]
    assert rows[1] == ["road", "100.0", "0.0"]
    assert rows[3][1] == "nan"


def test_repeated_images_of_a_distributed_sampler_are_dropped():
    found = metric("streets_9")
    right = torch.tensor([[0, 1]])
    found.process({}, [sample(right, right), sample(1 - right, right)])
    assert found.evaluate(1)["mIoU"] == 100


def test_chosen_class_sets_and_wrong_ones():
    pred, target = maps()
    found = metric(class_sets=["cityscapes_16"])
    found.process({}, [sample(pred, target)])
    assert set(found.evaluate(1)) == {"mIoU", "aAcc", "mIoU16"}
    found = metric("streets_9", class_sets=["cityscapes_16"])
    found.process({}, [sample(pred % 9, target % 9)])
    with pytest.raises(ValueError, match="not made of the classes"):
        found.evaluate(1)
    with pytest.raises(ValueError, match=r"class_sets has \['16'\]"):
        UDAIoUMetric(class_sets=["16"])
    with pytest.raises(ValueError, match=r"Expected \.csv or \.md"):
        UDAIoUMetric(out_file="table.txt")


def test_missing_labels_and_other_sizes_name_the_image():
    found = metric()
    pred, target = maps()
    with pytest.raises(ValueError, match=r"a\.png has no labels. Expected mmext\.LoadLabelIds"):
        found.process({}, [dict(pred_sem_seg=dict(data=pred[None]), img_path="a.png")])
    with pytest.raises(ValueError, match=r"a\.png: the prediction is \(20, 30\)"):
        found.process({}, [sample(pred, target[:4], img_path="a.png")])


def test_tables(tmp_path):
    columns = dict(day=dict(road=12.345, car=float("nan")), fog=dict(road=1.0, car=2.0))
    text = format_table(columns, "class")
    assert text.splitlines() == [
        "| class | day | fog |",
        "|---|---:|---:|",
        "| road | 12.35 | 1.00 |",
        "| car | - | 2.00 |",
    ]
    write_table(tmp_path / "new" / "table.md", columns, "class")
    assert (tmp_path / "new" / "table.md").read_text() == text + "\n"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.md"]
