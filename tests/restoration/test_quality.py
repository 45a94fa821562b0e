import os
from pathlib import Path

import numpy as np
import pytest

from mmext.restoration.quality import SSIM_PROTOCOLS, prepare_image, psnr, ssim

# The official figures of scikit-image and of luma were computed in float32.
FLOAT32 = 1e-6
EXACT = 1e-12


def luma(pair):
    return [prepare_image(image, channel="y") for image in pair]


@pytest.mark.parametrize(
    ("figure", "compute", "tolerance"),
    [
        ("psnr_rgb_uint8", lambda p: psnr(*p), EXACT),
        ("skimage_psnr_float_range1", lambda p: psnr(*p), FLOAT32),
        ("psnr_y", lambda p: psnr(*luma(p)), FLOAT32),
        ("ssim_gauss11_rgb", lambda p: ssim(*p, "gaussian"), EXACT),
        ("skimage_ssim_gauss_range1_realblur_style", lambda p: ssim(*p, "gaussian"), FLOAT32),
        ("ssim_gauss11_y", lambda p: ssim(*luma(p), "gaussian"), FLOAT32),
        ("skimage_ssim_uniform7_range1", lambda p: ssim(*p, "uniform"), FLOAT32),
        (
            "skimage_ssim_uniform7_range2_AS_PUBLISHED_GOPRO",
            lambda p: ssim(*p, "uniform_range2"),
            FLOAT32,
        ),
        ("ssim_matlab3d_rgb_uint8_L255", lambda p: ssim(*p, "matlab3d"), EXACT),
        ("ssim_matlab2d_per_channel_replicate_L255", lambda p: ssim(*p, "matlab2d"), EXACT),
    ],
)
def test_official_figures(figure, compute, tolerance, pair, official):
    assert compute(pair) == pytest.approx(official["metrics"][figure], abs=tolerance)


def test_wrapped_bytes_explain_an_official_figure(pair, official):
    """A published script multiplies bytes by 255 once too often; they wrap."""
    wrapped = [np.round(image * 255).astype(np.uint8) * np.uint8(255) / 255 for image in pair]
    expected = official["metrics"]["official_calculate_ssim_on_uint8_raw"]
    assert ssim(*wrapped, "gaussian") == pytest.approx(expected, abs=EXACT)


def test_copies_are_the_golden_files(pair, official):
    folder = Path(os.environ.get("MMEXT_GOLDEN", "../shared/golden")) / "uformer"
    if not folder.is_dir():
        pytest.skip(f"the golden folder {folder} is not there (set MMEXT_GOLDEN)")
    import json

    golden = json.loads((folder / "training_and_metrics.json").read_text())
    assert golden["metrics"] == official["metrics"]
    with np.load(folder / "metrics_io.npz") as arrays:
        np.testing.assert_array_equal(arrays["pred"] / 255, pair[0])


@pytest.mark.parametrize("protocol", SSIM_PROTOCOLS)
def test_ssim_of_equal_images_is_one(protocol, pair):
    assert ssim(pair[0], pair[0], protocol) == pytest.approx(1)
    assert ssim(*pair, protocol) == pytest.approx(ssim(*pair[::-1], protocol))


def test_protocols_differ(pair):
    values = [ssim(*pair, protocol) for protocol in SSIM_PROTOCOLS]
    assert np.diff(sorted(values)).min() > 1e-3


def test_unknown_protocol_is_named(pair):
    with pytest.raises(ValueError, match=r"'matlab'.*'matlab3d'"):
        ssim(*pair, "matlab")


def test_psnr_by_hand():
    assert psnr(np.full((4, 4, 3), 0.5), np.full((4, 4, 3), 0.4)) == pytest.approx(20)
    assert psnr(np.ones((4, 4, 3)), np.ones((4, 4, 3))) == float("inf")


def test_rounding_and_border():
    image = np.full((8, 8, 3), 100.4 / 255)
    image[0] = 1
    prepared = prepare_image(image, rounding="uint8", crop_border=1)
    assert prepared.shape == (6, 6, 3)
    np.testing.assert_allclose(prepared, 100 / 255)


def test_luma_spans_the_studio_range():
    black, white = (prepare_image(np.full((1, 1, 3), v), channel="y").item() * 255 for v in (0, 1))
    assert (black, white) == (pytest.approx(16), pytest.approx(235))
    red = prepare_image(np.array([[[1.0, 0, 0]]]), channel="y").item()
    blue = prepare_image(np.array([[[0.0, 0, 1]]]), channel="y").item()
    assert red > blue  # RGB order
