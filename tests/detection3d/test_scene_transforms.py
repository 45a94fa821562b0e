"""Transforms: points, boxes and masks stay together, and nothing that is cached changes."""

import math

import numpy as np
import pytest
import torch
from indoor_files import BOXES, MATRIX, cloud, write_version1
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from torch.utils.data import DataLoader, Dataset

from mmext.detection3d import (
    AppendHeight,
    AssignPointInstances,
    GlobalAlign,
    GlobalRotScale,
    InfoError,
    LoadIndoorAnnotations,
    LoadPoints,
    PackIndoorInputs,
    PointSample,
    PointSegMap,
    PointsPreprocessor,
    RandomFlip3D,
    ScanNetDet3DDataset,
)
from mmext.detection3d.loading import instances_from_boxes, instances_from_masks
from mmext.detection3d.structures import Boxes3D, Det3DSample
from mmext.ops import points_in_boxes


def scene(boxes=BOXES):
    points, owner = cloud(boxes)
    return dict(
        scene="a",
        points=points[:, :3],
        boxes=Boxes3D(boxes.astype(np.float32)),
        labels=np.array([3, 0]),
        point_instances=owner,
    )


def inside_own_box(results):
    """Tell whether each point that has an object lies in its box (a little larger)."""
    own = results["point_instances"] >= 0
    boxes = results["boxes"].tensor.clone()
    boxes[:, 3:6] += 1e-3
    inside = points_in_boxes(torch.from_numpy(results["points"][own, :3]), boxes)
    return inside[torch.arange(own.sum()), results["point_instances"][own]].all()


def test_a_scannet_scene_from_files_to_sample(tmp_path):
    path = write_version1(tmp_path)
    pipeline = [
        LoadPoints(color_peak=255),
        LoadIndoorAnnotations(),
        GlobalAlign(),
        PointSegMap(),
        AssignPointInstances(),
        PackIndoorInputs(),
    ]
    data = ScanNetDet3DDataset(
        data_root=str(tmp_path), ann_file=path.name, pipeline=[lambda r: r], serialize_data=False
    )
    item = Compose(pipeline)(data[0])
    points, owner = cloud(BOXES * (1, 1, 1, 1, 1, 1, 0))
    found = item["inputs"]["points"].numpy()
    np.testing.assert_allclose(found[:, :3], points[:, :3], atol=1e-5)
    np.testing.assert_allclose(found[:, 3:], points[:, 3:] / 255, rtol=1e-6)
    sample = item["data_samples"]
    assert isinstance(sample, Det3DSample)
    assert sample.sample_idx == "scene0000_00"
    assert sample.gt_instances_3d.labels_3d.tolist() == [2, 1]
    assert sample.gt_instances_3d.bboxes_3d.tensor.dtype == torch.float32
    np.testing.assert_array_equal(sample.gt_point_instances.numpy(), owner)
    empty = Compose(pipeline)(data[1])["data_samples"]
    assert len(empty.gt_instances_3d) == 0
    assert (empty.gt_point_instances == -1).all()


def test_alignment_without_matrix_warns_once(caplog):
    align, results = GlobalAlign(), scene()
    before = results["points"].copy()
    for _ in range(2):
        np.testing.assert_array_equal(align(dict(results))["points"], before)
    moved = align(dict(results, axis_align_matrix=MATRIX))["points"]
    np.testing.assert_allclose(moved[0], MATRIX[:3, :3] @ before[0] + MATRIX[:3, 3], rtol=1e-5)
    assert align.warned


def test_semantic_ids_become_classes():
    mask = np.array([3, 39, 0, 5, 40, 4, 1])
    mapped = PointSegMap()(dict(semantic_mask=mask, semantic_ids=np.array([3, 5, 39, 4])))
    assert mapped["semantic_mask"].tolist() == [0, 2, -1, 1, -1, 3, -1]


def test_points_in_several_boxes_go_to_the_nearest_centre():
    boxes = Boxes3D([[0.0, 0, 0, 4, 4, 4, 0], [1.0, 0, 0, 1, 1, 1, 0]])
    points = np.array([[0.9, 0, 0], [0.55, 0, 0], [0.45, 0, 0], [1.5, 0, 0], [3, 0, 0]])
    assert instances_from_boxes(points, boxes).tolist() == [1, 1, 0, 1, -1]
    assert instances_from_boxes(points, Boxes3D([])).tolist() == [-1] * 5


def test_instances_find_the_box_of_their_class():
    # A cushion (instance 2, no class) on a chair; a second chair at the same distance is no table.
    boxes = Boxes3D([[0.0, 0, 0, 1, 1, 1, 0], [0.1, 0, 0, 1, 1, 1, 0], [5.0, 0, 0, 1, 1, 1, 0]])
    labels = np.array([0, 1, 0])
    points = np.array([[-0.5, 0, 0], [0.7, 0, 0], [0.1, 0, 0], [4.8, 0, 0], [5.3, 0, 0]])
    instance, semantic = np.array([7, 7, 2, 9, 9]), np.array([0, 0, -1, 0, 0])
    found = instances_from_masks(points, instance, semantic, boxes, labels)
    assert found.tolist() == [0, 0, -1, 2, 2]  # box 1 has the nearer centre, but is of class 1
    assert instances_from_masks(points, 0 * instance, semantic, boxes, labels).max() == -1
    without = instances_from_masks(points, instance, None, boxes, labels)
    assert without.tolist() == [1, 1, 1, 2, 2]


def test_flips_take_boxes_and_instances_along():
    for prob_x, prob_y, signs in ((1, 0, (-1, 1, 1)), (0, 1, (1, -1, 1)), (0, 0, (1, 1, 1))):
        results = RandomFlip3D(prob_x, prob_y)(scene())
        np.testing.assert_allclose(results["points"], scene()["points"] * signs)
        assert inside_own_box(results)


def test_rotation_and_scale_take_boxes_along():
    results = GlobalRotScale((0.3, 0.3), (1.2, 1.2))(scene())
    assert inside_own_box(results)
    expected = BOXES[:, 6] + 0.3
    np.testing.assert_allclose(results["boxes"].yaws, expected, rtol=1e-6)
    np.testing.assert_allclose(results["boxes"].sizes, 1.2 * BOXES[:, 3:6], rtol=1e-6)
    with pytest.raises(ValueError, match="rot_range is 1 to -1"):
        GlobalRotScale((1, -1))


def test_aligned_boxes_grow_to_hulls():
    aligned = BOXES * (1, 1, 1, 1, 1, 1, 0)
    results = GlobalRotScale((0.1, 0.1), axis_aligned=True)(scene(aligned))
    assert (results["boxes"].yaws == 0).all()
    assert inside_own_box(results)
    grown = aligned[0, 3] * math.cos(0.1) + aligned[0, 4] * math.sin(0.1)
    assert results["boxes"].sizes[0, 0].item() == pytest.approx(grown, rel=1e-5)


def test_sampling():
    results = PointSample(50)(scene())
    assert results["points"].shape == (50, 3)
    assert len(np.unique(results["points"], axis=0)) == 50
    assert inside_own_box(results)
    small = PointSample(500)(scene())
    assert len(np.unique(small["points"], axis=0)) == len(scene()["points"])
    assert len(small["point_instances"]) == 500
    with pytest.raises(ValueError, match="num_points is 0"):
        PointSample(0)


def test_a_seed_makes_sampling_the_same_whatever_came_before():
    first = PointSample(50, seed=1)(scene())["points"]
    np.random.random(7)
    np.testing.assert_array_equal(PointSample(50, seed=1)(scene())["points"], first)
    other = PointSample(50, seed=1)(scene() | dict(scene="b"))["points"]
    assert not np.array_equal(other, first)
    assert not np.array_equal(PointSample(50)(scene())["points"], first)


def test_height_above_the_floor():
    results = scene()
    results["points"] = np.stack((np.zeros(1001), np.zeros(1001), np.arange(1001) / 100), axis=1)
    height = AppendHeight()(results)["points"][:, 3]
    np.testing.assert_allclose(height, np.arange(1001) / 100 - 0.099, atol=1e-6)


AUGMENTATIONS = (
    GlobalAlign(),
    PointSegMap(),
    AssignPointInstances(),
    RandomFlip3D(1, 1),
    GlobalRotScale((0.2, 0.3), (0.8, 0.9)),
    AppendHeight(),
    PointSample(100),
)


class Cached(Dataset):
    """Gives the same arrays each time, as a data set that keeps them in memory."""

    def __init__(self):
        self.scene = scene() | dict(
            axis_align_matrix=MATRIX,
            semantic_ids=np.array([5, 4]),
            semantic_mask=np.full(180, 4),
            instance_mask=np.ones(180, np.int64),
        )
        self.arrays = {k: v for k, v in self.scene.items() if isinstance(v, np.ndarray)}
        for array in self.arrays.values():
            array.flags.writeable = False
        self.before = {key: array.copy() for key, array in self.arrays.items()}
        self.boxes = self.scene["boxes"].tensor.clone()

    def __len__(self):
        return 4

    def __getitem__(self, index):
        Compose(AUGMENTATIONS)(dict(self.scene))
        same = all(np.array_equal(self.arrays[key], old) for key, old in self.before.items())
        return same and torch.equal(self.scene["boxes"].tensor, self.boxes)


def test_augmentation_copies_what_it_changes():
    loader = DataLoader(Cached(), num_workers=1, persistent_workers=True)
    assert all(bool(same) for _ in range(3) for same in loader)


class Moving(BaseTransform):
    """What the official data set does: it writes into the array that it was given."""

    def transform(self, results):
        results["points"] += 1
        return results


def test_the_test_above_can_fail(monkeypatch):
    monkeypatch.setitem(globals(), "AUGMENTATIONS", (Moving(),))
    with pytest.raises(ValueError, match="read-only"):
        Cached()[0]


def test_colours_that_are_not_there(tmp_path):
    np.save(tmp_path / "a.npy", cloud()[0][:, :3])
    with pytest.raises(InfoError, match=r"a.npy has 3 columns, so no colours"):
        LoadPoints(color_peak=1)(dict(points_path=str(tmp_path / "a.npy"), num_features=3))


def test_batches():
    preprocessor = PointsPreprocessor()
    clouds = [torch.rand(8, 3), torch.rand(8, 3)]
    samples = [Det3DSample(metainfo=dict(sample_idx=name)) for name in "ab"]
    for inputs in (dict(points=clouds), dict(points=torch.stack(clouds)), clouds):
        batch = preprocessor(dict(inputs=inputs, data_samples=samples))
        torch.testing.assert_close(batch["inputs"], torch.stack(clouds))
        assert [sample.sample_idx for sample in batch["data_samples"]] == ["a", "b"]
    assert preprocessor(dict(inputs=clouds))["data_samples"] is None
    with pytest.raises(ValueError, match=r"\[\(8, 3\), \(4, 3\)\].*PointSample"):
        preprocessor(dict(inputs=[clouds[0], clouds[1][:4]]))
    with pytest.raises(ValueError, match=r"the cloud b of the batch has NaN"):
        preprocessor(dict(inputs=[clouds[0], clouds[1] / 0 * 0], data_samples=samples))
    with pytest.raises(ValueError, match=r"clouds of shape \(0, 3\)"):
        preprocessor(dict(inputs=[torch.zeros(0, 3)]))
