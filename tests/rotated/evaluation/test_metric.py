import zipfile

import cv2
import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from mmengine.registry import METRICS

from mmext.rotated import RotatedDetectionMetric
from mmext.rotated.evaluation.samples import truth_of

CLASSES = ("plane", "ship")


def sample(name, found=(), truth=(), ignored=()):
    """A data sample as a dict.

    Args:
        name: ``img_id``.
        found: Rows of x, y, w, h, angle, score, label.
        truth: Rows of x, y, w, h, angle, label; ``ignored`` alike.
    """
    found = torch.tensor(found, dtype=torch.float32).reshape(-1, 7)
    columns = {}
    for key, rows in (("gt_instances", truth), ("ignored_instances", ignored)):
        rows = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
        columns[key] = dict(bboxes=rows[:, :5], labels=rows[:, 5].long())
    columns["pred_instances"] = dict(
        bboxes=found[:, :5], scores=found[:, 5], labels=found[:, 6].long()
    )
    return dict(img_id=name, **columns)


def run(metric, *samples):
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(None, list(samples))
    return metric.evaluate(len(samples))


SHIP = [50, 50, 40, 8, 0.5]
PLANE = [20, 20, 10, 10, 0.0]


def test_figures_of_two_images():
    """Planes: found. Ships: one of two found, with a false one of a higher score."""
    metric = METRICS.build(dict(type="mmext.RotatedDetectionMetric", iou_thrs=[0.5, 0.75]))
    figures = run(
        metric,
        sample("a", [[*SHIP, 0.5, 1], [*PLANE, 0.9, 0]], [[*SHIP, 1], [*PLANE, 0]]),
        sample("b", [[200, 200, 9, 9, 0, 0.8, 1]], [[*SHIP, 1]]),
    )
    assert set(figures) == {"dota/mAP", "dota/AP50", "dota/AP75"}
    # Recalls 0 to 0.5 have precision 1/2: 6 of the 11 levels.
    assert figures["dota/AP50"] == figures["dota/mAP"] == pytest.approx((1 + 3 / 11) / 2)


def test_area_mode_and_a_single_number_as_threshold():
    metric = RotatedDetectionMetric(iou_thrs=0.5, eval_mode="area", prefix="val")
    figures = run(
        metric,
        sample("a", [[*SHIP, 0.5, 1], [*PLANE, 0.9, 0]], [[*SHIP, 1], [*PLANE, 0]]),
        sample("b", [[200, 200, 9, 9, 0, 0.8, 1]], [[*SHIP, 1]]),
    )
    assert figures["val/AP50"] == pytest.approx((1 + 0.25) / 2)


def test_ignored_objects_count_neither_way_also_alone_in_an_image():
    metric = RotatedDetectionMetric(skip_absent_classes=True)
    figures = run(
        metric,
        sample("a", [[*SHIP, 0.5, 1]], [[*SHIP, 1]]),
        sample("b", [[*SHIP, 0.9, 1]], [], [[*SHIP, 1]]),
        sample("c", [], [], []),
    )
    assert figures["dota/mAP"] == 1


def test_absent_classes_count_as_zero_unless_skipped():
    data = sample("a", [[*SHIP, 0.5, 1]], [[*SHIP, 1]])
    assert run(RotatedDetectionMetric(), data)["dota/mAP"] == 0.5
    assert run(RotatedDetectionMetric(skip_absent_classes=True), data)["dota/mAP"] == 1


def test_no_detections_at_all():
    assert run(RotatedDetectionMetric(), sample("a", [], [[*SHIP, 1]]))["dota/mAP"] == 0


def test_quadrilaterals_box_types_and_bfloat16_scores():
    from mmrotate.structures.bbox import QuadriBoxes, RotatedBoxes

    data = sample("a", [[*SHIP, 0.5, 1]], [[*SHIP, 1]])
    data["pred_instances"]["bboxes"] = RotatedBoxes(data["pred_instances"]["bboxes"])
    data["pred_instances"]["scores"] = data["pred_instances"]["scores"].bfloat16()
    boxes = RotatedBoxes(data["gt_instances"]["bboxes"]).convert_to("qbox")
    assert isinstance(boxes, QuadriBoxes)
    data["gt_instances"]["bboxes"] = boxes
    assert run(RotatedDetectionMetric(skip_absent_classes=True), data)["dota/mAP"] == 1


@pytest.mark.parametrize(("diff_thr", "difficult"), [(0, [False, True]), (100, [False, False])])
def test_difficult_flags_come_through_mmrotates_data_set(tmp_path, diff_thr, difficult):
    """Its default diff_thr of 100 drops them, as docs/dota.md warns."""
    from mmrotate.datasets import DOTADataset

    from mmext.engine.hosts import import_host

    import_host("mmrotate")
    cv2.imwrite(str(tmp_path / "P1.png"), np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "P1.txt").write_text("0 0 9 0 9 9 0 9 plane 0\n20 20 40 20 40 30 20 30 ship 1\n")
    dataset = DOTADataset(
        ann_file=str(tmp_path),
        data_prefix=dict(img_path=str(tmp_path)),
        diff_thr=diff_thr,
        test_mode=True,
        pipeline=[
            dict(type="mmdet.LoadImageFromFile"),
            dict(type="mmdet.LoadAnnotations", with_bbox=True, box_type="qbox"),
            dict(type="mmrotate.ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
            dict(type="mmdet.PackDetInputs", meta_keys=("img_id",)),
        ],
    )
    loaded = dataset[0]["data_samples"].to_dict()
    truth = truth_of(loaded)
    assert truth["difficult"].tolist() == difficult
    np.testing.assert_allclose(truth["boxes"][1].reshape(4, 2).max(axis=0), [40, 30], atol=1e-3)


def test_aspect_bins():
    """A square that is found, a 5:1 ship that is not, and a false detection above both."""
    metric = RotatedDetectionMetric(aspect_bins=(1, 2, 4), eval_mode="area")
    figures = run(
        metric,
        sample("a", [[*PLANE, 0.5, 0], [300, 9, 9, 9, 0, 0.9, 0]], [[*PLANE, 0], [*SHIP, 0]]),
    )
    assert figures["dota/AP50_aspect_1-2"] == pytest.approx(0.5)
    assert figures["dota/AP50_aspect_4+"] == 0
    assert np.isnan(figures["dota/AP50_aspect_2-4"])
    # The ship's detection is no fault in the squares' bin.
    metric = RotatedDetectionMetric(aspect_bins=(1, 2, 4), eval_mode="area")
    figures = run(
        metric,
        sample("a", [[*PLANE, 0.5, 0], [*SHIP, 0.9, 0]], [[*PLANE, 0], [*SHIP, 0]]),
    )
    assert figures["dota/AP50_aspect_1-2"] == figures["dota/AP50_aspect_4+"] == 1


@pytest.fixture
def ann_dir(tmp_path):
    """One image with a ship at 850, 20, 40 x 20, and a difficult one."""
    folder = tmp_path / "labelTxt"
    folder.mkdir()
    (folder / "P1.txt").write_text(
        "830 10 870 10 870 30 830 30 ship 0\n100 100 120 100 120 120 100 120 ship 1\n"
    )
    return str(folder)


def patch_samples():
    """The ship is found in both patches: left out of one of them, AP would fall to a half."""
    return [
        sample(
            "P1__1024__0___0",
            [[850, 20, 40, 20, 0, 0.6, 1], [110, 110, 20, 20, 0, 0.99, 1]],
            [],
        ),
        sample("P1__1024__824___0", [[26, 20, 40, 20, 0, 0.9, 1]], []),
    ]


def test_merged_patches_are_evaluated(ann_dir):
    metric = RotatedDetectionMetric(
        merge_patches=True, ann_dir=ann_dir, eval_mode="area", skip_absent_classes=True
    )
    assert run(metric, *patch_samples())["dota/mAP"] == 1
    apart = RotatedDetectionMetric(
        merge_patches=True, ann_dir=ann_dir, merge_iou=1.0, skip_absent_classes=True
    )
    whole = [{**patch_samples()[0], "img_id": "P1"}]
    assert run(apart, *whole)["dota/mAP"] == 1


def test_the_submission_is_written(tmp_path):
    prefix = tmp_path / "out" / "dota"
    metric = RotatedDetectionMetric(
        format_only=True, merge_patches=True, outfile_prefix=str(prefix)
    )
    samples = patch_samples()
    for one in samples:
        del one["gt_instances"], one["ignored_instances"]
    assert run(metric, *samples) == {}
    for task, columns in ((1, 10), (2, 6)):
        with zipfile.ZipFile(f"{prefix}_Task{task}.zip") as archive:
            assert archive.namelist() == [f"Task{task}_{name}.txt" for name in CLASSES]
            lines = archive.read(f"Task{task}_ship.txt").decode().splitlines()
        assert [line.split()[0] for line in lines] == ["P1", "P1"]
        assert all(len(line.split()) == columns for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(iou_thrs=[0.5, 1.0]), r"iou_thrs is \[0.5, 1.0\]"),
        (dict(iou_thrs=[]), "iou_thrs is"),
        (dict(iou_thrs=[0.5, 0.5]), "given twice"),
        (dict(eval_mode="voc"), "eval_mode is 'voc': expected one of"),
        (dict(merge_patches=True), "merge_patches=True needs ann_dir"),
        (dict(format_only=True), "format_only=True needs outfile_prefix"),
        (dict(merge_iou=2), "merge_iou is 2"),
        (dict(aspect_bins=(0, 2)), "aspect_bins is"),
        (dict(aspect_bins=(2, 2)), "expected ascending edges"),
        (dict(aspect_bins=()), "aspect_bins is"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RotatedDetectionMetric(**options)


def test_samples_that_lack_something_are_named():
    metric = RotatedDetectionMetric()
    bare = sample("P7", [[*SHIP, 0.5, 1]])
    with pytest.raises(ValueError, match=r"came without ground truth.*format_only"):
        metric.process(None, [dict(bare, gt_instances={}, ignored_instances={})])
    with pytest.raises(ValueError, match="'P7' has no 'pred_instances'"):
        metric.process(None, [dict(img_id="P7")])
    with pytest.raises(ValueError, match="PackDetInputs' meta_keys"):
        metric.process(None, [{k: v for k, v in bare.items() if k != "img_id"}])
    with pytest.raises(ValueError, match="1 scores are NaN or infinite, the first in image 'P7'"):
        run(RotatedDetectionMetric(), sample("P7", [[*SHIP, float("nan"), 1]], [[*SHIP, 1]]))


def _worker(rank, init_file, ann_dir, queue):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{init_file}", rank=rank, world_size=2
    )
    metric = RotatedDetectionMetric(merge_patches=True, ann_dir=ann_dir, eval_mode="area")
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process(None, [patch_samples()[rank]])
    queue.put(metric.evaluate(2))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_give_what_one_gives(ann_dir, tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    arguments = (str(tmp_path / "init"), ann_dir, queue)
    torch.multiprocessing.spawn(_worker, arguments, nprocs=2)
    alone = run(
        RotatedDetectionMetric(merge_patches=True, ann_dir=ann_dir, eval_mode="area"),
        *patch_samples(),
    )
    assert queue.get() == queue.get() == alone
