import cv2
import numpy as np
import pytest
import torch
from tiny_restoration import smooth_picture

from mmext.leaderboards.realblur import align, realblur_figures
from mmext.registry import METRICS
from mmext.restoration.quality import prepare_image, psnr


@pytest.fixture
def scene():
    """(96, 128, 3) RGB in [0, 1] with structure of several sizes."""
    rng = np.random.default_rng(0)
    picture = smooth_picture(rng, 96, 128) / 2 + cv2.resize(
        rng.integers(0, 128, (24, 32, 3)).astype(np.float64),
        (128, 96),
        interpolation=cv2.INTER_CUBIC,
    )
    return picture.clip(0, 255).round() / 255


def shifted(image, pixels=2.5):
    move = np.array([[1.0, 0, pixels], [0, 1, 0]])
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, move, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def test_shift_and_brightness_are_forgiven(scene):
    pred = 0.8 * shifted(scene)
    rounded = [prepare_image(image, rounding="uint8") for image in (pred, scene)]
    figures = realblur_figures(pred, scene)
    assert psnr(*rounded) < 20
    assert figures["PSNR_aligned"] > 35
    assert figures["SSIM_aligned"] > 0.97


def test_noise_is_not_forgiven(scene):
    noise = np.random.default_rng(1).normal(0, 0.05, scene.shape)
    figures = realblur_figures((scene + noise).clip(0, 1), scene)
    assert figures["PSNR_aligned"] == pytest.approx(26, abs=0.7)
    assert figures["SSIM_aligned"] < 0.95


def test_pixels_without_partner_do_not_count(scene):
    """A strip that the warp fills by reflection is outside the mask and its error not counted."""
    pred = shifted(scene, 6)
    warped, mask = align(pred, scene)
    assert mask[:, 125:].max() == 0
    assert mask[:, :110].min() == 1
    assert realblur_figures(pred, scene)["PSNR_aligned"] > psnr(warped, scene) + 2


def test_equal_images_reach_the_top(scene):
    figures = realblur_figures(scene, scene)
    assert figures["PSNR_aligned"] > 60
    assert figures["SSIM_aligned"] == pytest.approx(1, abs=1e-3)


def test_metric_names_the_image_that_cannot_be_aligned(scene):
    metric = METRICS.build(dict(type="mmext.RealBlurMetric"))
    target = torch.from_numpy(scene).permute(2, 0, 1)
    metric.process({}, [dict(img_path="good.png", pred_img=target, gt_img=target)])
    assert set(metric.evaluate(1)) == {"realblur/PSNR_aligned", "realblur/SSIM_aligned"}
    black = dict(img_path="black.png", pred_img=torch.zeros_like(target), gt_img=target)
    with pytest.raises(ValueError, match=r"black\.png: the restored image cannot be aligned"):
        metric.process({}, [black])
