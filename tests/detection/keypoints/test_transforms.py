import random

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes

from mmext.detection.keypoints import ColorJitterLighting, KeypointCropPad, ScaledCenterPad


def sample(boxes: list, size: tuple[int, int] = (300, 400)) -> dict:
    return dict(
        img=np.full((*size, 3), 200, np.float32),
        img_shape=size,
        gt_bboxes=HorizontalBoxes(torch.tensor(boxes).view(-1, 4), dtype=torch.float32),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.zeros(len(boxes), bool),
    )


def test_a_box_stays_while_any_of_it_is_in_the_crop():
    """A box of 10 x 10 px near the edge of most crops of 200 px."""
    cut = 0
    for seed in range(30):
        random.seed(seed)
        out = KeypointCropPad((200, 200), ratios=(1.0,), border=64)(
            sample([[150, 100, 250, 200], [0, 0, 400, 300]])
        )
        assert out["img"].shape == (200, 200, 3)
        assert set(np.unique(out["img"])) <= {0, 200}
        inside = np.argwhere(out["img"][..., 0] == 200)
        (top, left), (bottom, right) = inside.min(0), inside.max(0) + 1
        # The second box is the whole image, so what is left of it is what is left of the image.
        whole = out["gt_bboxes"].tensor[list(out["gt_bboxes_labels"]).index(1)]
        assert whole.tolist() == [left, top, right, bottom]
        cut += (out["gt_bboxes"].tensor[0, 2:] - out["gt_bboxes"].tensor[0, :2]).min() < 50
    assert cut > 0, "no box lost its centre, so mmdet's transform would pass too"


@pytest.mark.parametrize("boxes", [[], [[-50, -50, -10, -10]], [[20, 20, 20, 60]]])
def test_without_usable_boxes_any_crop_will_do(boxes):
    out = KeypointCropPad((64, 64))(sample(boxes))
    assert len(out["gt_bboxes"]) == len(out["gt_bboxes_labels"]) == 0


def test_jitter_keeps_grey_images_grey_but_for_the_light():
    image = np.full((4, 4, 3), 100, np.uint8)
    out = ColorJitterLighting(lighting=0.0)(dict(img=image))["img"]
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, out[0, 0, 0], rtol=1e-5)
    assert out[0, 0, 0] != 100
    lit = ColorJitterLighting(jitter=0.0)(dict(img=image))["img"]
    assert np.ptp(lit[0, 0]) > 0
    np.testing.assert_allclose(lit, lit[:1, :1].repeat(4, 0).repeat(4, 1))


def test_saturation_and_contrast_by_hand(monkeypatch):
    """With a factor of 1.4 each, in the order of the list."""
    monkeypatch.setattr(random, "shuffle", lambda kinds: None)
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    image = np.random.default_rng(0).integers(0, 255, (6, 5, 3)).astype(np.float32)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
    expected = image * 1.4
    expected = expected * 1.4 - 0.4 * grey.mean()
    expected = expected * 1.4 - 0.4 * grey
    out = ColorJitterLighting(lighting=0.0)(dict(img=image))["img"]
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "kwargs", "canvas", "border"),
    [
        ((120, 160), {}, (127, 255), (3, 123, 47, 207)),
        ((120, 160), dict(scale=0.6), (127, 127), (27, 99, 15, 111)),
        ((127, 255), {}, (127, 255), (0, 127, 0, 255)),
        ((480, 640), dict(pad_bits=31, pad_extra=1), (512, 672), (16, 496, 16, 656)),
        ((99, 101), dict(scale=0.5), (127, 127), (39, 88, 38, 88)),
    ],
)
def test_centred_padding(size, kwargs, canvas, border):
    image = np.random.default_rng(0).integers(1, 255, (*size, 3)).astype(np.uint8)
    out = ScaledCenterPad(**kwargs)(dict(img=image))
    assert out["img_shape"] == out["img"].shape[:2] == canvas
    assert out["border"] == border
    assert out["scale_factor"] == (kwargs.get("scale", 1.0),) * 2
    top, bottom, left, right = border
    inner = out["img"][top:bottom, left:right]
    if "scale" not in kwargs:
        assert np.array_equal(inner, image)
    assert out["img"].astype(int).sum() == inner.astype(int).sum()


def test_an_image_that_vanishes():
    with pytest.raises(ValueError, match=r"no extent at scale 0\.1 \(a\.png\)"):
        ScaledCenterPad(scale=0.1)(dict(img=np.zeros((5, 50, 3), np.uint8), img_path="a.png"))
