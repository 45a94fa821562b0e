"""Boxes: corners, hulls, the conventions and the ways between them."""

import math
import pickle

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmext.detection3d.structures import (
    Boxes3D,
    Det3DSample,
    from_upright_camera,
    rotate_points,
    to_upright_camera,
    wrap_angle,
)


@pytest.fixture
def boxes():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(20, 7, generator=generator, dtype=torch.float64)
    values[:, :3] = 6 * values[:, :3] - 3
    values[:, 3:6] += 0.2
    values[:, 6] = (values[:, 6] - 0.5) * 2 * math.pi
    return Boxes3D(values)


def test_corners_of_an_unturned_box():
    found = Boxes3D([[1.0, 2, 3, 4, 2, 6, 0]]).corners[0]
    square = [[3, 3], [3, 1], [-1, 1], [-1, 3]]
    expected = [[*xy, 0] for xy in square] + [[*xy, 6] for xy in square]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_yaw_turns_from_x_towards_y():
    # A long box turned by 30 degrees: its front end, (l/2, 0), lies at (cos 30, sin 30) l/2.
    corners = Boxes3D([[0.0, 0, 0, 2, 0.1, 1, math.radians(30)]]).corners[0]
    front = corners[[0, 1]].mean(dim=0)
    torch.testing.assert_close(front, torch.tensor([math.cos(math.pi / 6), 0.5, -0.5]))


def test_votenet_heading_turns_the_other_way(boxes):
    half = torch.tensor([[0.0, 0, 0, 1, 0.05, 0.5, math.radians(30)]])
    front = Boxes3D.from_votenet(half).corners[0, [0, 1]].mean(dim=0)
    # VoteNet's heading goes from +x towards -y.
    torch.testing.assert_close(front, torch.tensor([math.cos(math.pi / 6), -0.5, -0.5]))
    with_class = torch.cat((half, torch.full((1, 1), 4.0)), dim=1)
    torch.testing.assert_close(
        Boxes3D.from_votenet(with_class).tensor, Boxes3D.from_votenet(half).tensor
    )
    back = Boxes3D.from_votenet(boxes.to_votenet())
    torch.testing.assert_close(back.tensor, boxes.tensor, rtol=0, atol=0)
    torch.testing.assert_close(boxes.to_votenet()[:, 3:6], boxes.sizes / 2)


def test_mmdet3d_keeps_the_bottom(boxes):
    bottom = boxes.to_bottom_centre()
    torch.testing.assert_close(bottom[:, 2], boxes.corners[:, 0, 2])
    torch.testing.assert_close(Boxes3D.from_bottom_centre(bottom).tensor, boxes.tensor)


def test_upright_camera_frame(boxes):
    torch.testing.assert_close(
        to_upright_camera(torch.tensor([1.0, 2, 3])), torch.tensor([1.0, -3, 2])
    )
    corners = boxes.corners
    torch.testing.assert_close(from_upright_camera(to_upright_camera(corners)), corners)


def test_hulls_hold_the_corners_and_touch_them(boxes):
    hulls = boxes.hulls
    low, high = hulls.centres - hulls.sizes / 2, hulls.centres + hulls.sizes / 2
    torch.testing.assert_close(boxes.corners.amin(dim=1), low)
    torch.testing.assert_close(boxes.corners.amax(dim=1), high)
    assert (hulls.yaws == 0).all()
    turned = Boxes3D([[0.0, 0, 0, 2, 1, 1, math.pi / 2]]).hulls.sizes
    torch.testing.assert_close(turned, torch.tensor([[1.0, 2, 1]]))


def test_augmentations_move_the_corners_as_points(boxes):
    corners = boxes.corners
    for name, moved, expected in (
        ("rotate", boxes.rotate(0.3), rotate_points(corners, 0.3)),
        ("scale", boxes.scale(1.1), 1.1 * corners),
        ("translate", boxes.translate((1, 2, 3)), corners + corners.new_tensor([1, 2, 3])),
        ("flip x", boxes.flip("x"), corners * corners.new_tensor([-1, 1, 1])),
        ("flip y", boxes.flip("y"), corners * corners.new_tensor([1, -1, 1])),
    ):
        # A mirrored box has the same corners in another order.
        found, wanted = (
            np.array([sorted(map(tuple, np.round(box, 9))) for box in part.numpy()])
            for part in (moved.corners, expected)
        )
        np.testing.assert_allclose(found, wanted, atol=1e-8, err_msg=name)
    # The front stays the front: a mirrored chair's back is still behind.

    def front(found):
        return found.corners[:, [0, 1]].mean(dim=1)

    for axis, signs in (("x", [-1, 1, 1]), ("y", [1, -1, 1])):
        torch.testing.assert_close(
            front(boxes.flip(axis)), front(boxes) * corners.new_tensor(signs)
        )
    with pytest.raises(ValueError, match="flip along 'z'"):
        boxes.flip("z")


def test_nothing_changes_in_place(boxes):
    before = boxes.tensor.clone()
    for moved in (
        boxes.rotate(1.0),
        boxes.flip("x"),
        boxes.scale(2.0),
        boxes.translate((1, 1, 1)),
        boxes.hulls,
        boxes.clone(),
    ):
        moved.tensor.add_(1)
    torch.testing.assert_close(boxes.tensor, before, rtol=0, atol=0)


def test_angles_are_wrapped_into_half_open_turn():
    angles = torch.tensor([math.pi, -math.pi, 3 * math.pi, 0.0, -0.1, 6.0], dtype=torch.float64)
    expected = torch.tensor(
        [math.pi, math.pi, math.pi, 0, -0.1, 6 - 2 * math.pi], dtype=torch.float64
    )
    torch.testing.assert_close(wrap_angle(angles), expected)


def test_container(boxes):
    assert len(boxes) == 20
    assert len(boxes[3]) == 1
    assert len(boxes[2:5]) == 3
    assert len(boxes[boxes.yaws > 0]) == int((boxes.yaws > 0).sum())
    assert boxes.to(torch.float32).tensor.dtype == torch.float32
    torch.testing.assert_close(Boxes3D.cat([boxes[:4], boxes[4:]]).tensor, boxes.tensor)
    torch.testing.assert_close(
        boxes.volumes, boxes.sizes[:, 0] * boxes.sizes[:, 1] * boxes.sizes[:, 2]
    )
    torch.testing.assert_close(pickle.loads(pickle.dumps(boxes)).tensor, boxes.tensor)


@pytest.mark.parametrize("empty", [[], np.zeros((0, 7)), torch.zeros(0, 7), np.zeros(0)])
def test_no_boxes_at_all(empty):
    none = Boxes3D(empty)
    assert len(none) == 0
    assert none.corners.shape == (0, 8, 3)
    assert len(none.hulls.rotate(1.0).flip("x")) == 0
    assert len(Boxes3D.cat([])) == 0
    assert len(Boxes3D.from_aligned(np.zeros((0, 6)))) == 0
    assert len(Boxes3D.from_votenet(np.zeros((0, 8)))) == 0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected \(N, 7\).*from_aligned"):
        Boxes3D(torch.zeros(2, 6))
    found = Boxes3D.from_aligned([[1.0, 2, 3, 4, 5, 6]])
    torch.testing.assert_close(found.tensor, torch.tensor([[1.0, 2, 3, 4, 5, 6, 0]]))


def test_samples_select_and_move_boxes(boxes):
    instances = InstanceData(bboxes_3d=boxes, labels_3d=torch.arange(20))
    chosen = instances[torch.tensor([3, 1])]
    assert chosen.labels_3d.tolist() == [3, 1]
    torch.testing.assert_close(chosen.bboxes_3d.tensor, boxes.tensor[[3, 1]])
    assert len(instances[instances.labels_3d > 30].bboxes_3d) == 0
    sample = Det3DSample(metainfo=dict(sample_idx="a"), gt_instances_3d=instances)
    moved = sample.to(torch.float32)
    assert moved.gt_instances_3d.bboxes_3d.tensor.dtype == torch.float32
    assert moved.sample_idx == "a"
    assert isinstance(sample.to_dict()["gt_instances_3d"]["bboxes_3d"], Boxes3D)
