"""Colour statistics and low frequencies of another image."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmext.segmentation.datasets import FDATransfer, LABStatTransfer
from mmext.segmentation.datasets.style import (
    fourier_transfer,
    lab_statistics_transfer,
    lab_statistics_transfer_8bit,
)

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "segmentation" / "lab_transfer.npz"


def photo(seed, size=(40, 60), low=0, high=256):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(low, high, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def lab(image):
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)


def test_eight_bit_path_equals_the_fields_code():
    with np.load(GOLDEN) as golden:
        out = lab_statistics_transfer_8bit(golden["content_bgr"], golden["style_bgr"])
        np.testing.assert_array_equal(out, golden["out_bgr"])


def test_statistics_become_those_of_the_reference():
    image, reference = photo(0, low=90, high=160), photo(1, low=80, high=170)
    out = lab_statistics_transfer(image, reference, ratio_range=(0, 10))
    np.testing.assert_allclose(lab(out).mean((0, 1)), lab(reference).mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(lab(out).std((0, 1)), lab(reference).std((0, 1)), rtol=0.05)


def test_identity_of_equal_statistics():
    image = photo(0)
    assert abs(lab_statistics_transfer(image, image).astype(int) - image).max() <= 1
    assert abs(fourier_transfer(image, image, 0.1).astype(int) - image).max() <= 1


def test_images_without_colour_stay_finite_and_bounded():
    grey = np.full((20, 20, 3), 128, np.uint8)
    out = lab_statistics_transfer(grey, photo(1))
    assert len(np.unique(out.reshape(-1, 3), axis=0)) == 1
    dull = np.clip(128 + np.random.default_rng(0).normal(0, 1, (40, 40, 3)), 0, 255)
    out = lab_statistics_transfer(dull.astype(np.uint8), photo(1), ratio_range=(0.5, 2.0))
    assert lab(out).std((0, 1)).max() < 3 * lab(dull.astype(np.uint8)).std((0, 1)).max() + 1
    assert lab_statistics_transfer_8bit(grey, photo(1)).dtype == np.uint8


def test_lightness_can_be_kept():
    image, reference = photo(0, low=90, high=160), photo(1, low=90, high=160)
    out = lab_statistics_transfer(image, reference, keep_lightness=True)
    np.testing.assert_allclose(lab(out)[..., 0], lab(image)[..., 0], atol=1.5)


@pytest.mark.parametrize("size", [(40, 60), (41, 63)])
@pytest.mark.parametrize("beta", [0.0, 0.05, 0.5])
def test_fourier_transfer_equals_the_full_spectrum(size, beta):
    """The published way: shift the spectrum, replace the middle, shift back."""
    image, reference = photo(0, size), photo(1, size)
    spectrum, other = (
        np.fft.fftshift(np.fft.fft2(picture.astype(float), axes=(0, 1)), axes=(0, 1))
        for picture in (image, reference)
    )
    amplitude, reach = np.abs(spectrum), int(min(size) * beta)
    row, column = size[0] // 2, size[1] // 2
    middle = np.s_[
        max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1
    ]
    amplitude[middle] = np.abs(other)[middle]
    mixed = np.fft.ifft2(
        np.fft.ifftshift(amplitude * np.exp(1j * np.angle(spectrum)), axes=(0, 1)), axes=(0, 1)
    ).real
    expected = np.round(mixed.clip(0, 255))
    assert abs(fourier_transfer(image, reference, beta) - expected).max() <= 1


def test_brightness_follows_the_reference():
    dark, bright = photo(0, low=20, high=60), photo(1, low=180, high=240)
    out = fourier_transfer(dark, bright, 0.01)
    assert abs(out.mean() - bright.mean()) < 10


def test_transforms_draw_references(tmp_path):
    (tmp_path / "city").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "city" / f"{index}.png"), photo(index, (20, 30)))
    image = photo(9)
    for transform in (
        LABStatTransfer(reference=str(tmp_path)),
        LABStatTransfer(reference=str(tmp_path), eight_bit=True),
        FDATransfer(reference=str(tmp_path), beta=0.05),
    ):
        outs = [transform(dict(img=image.copy()))["img"] for _ in range(8)]
        assert all(out.shape == image.shape and out.dtype == np.uint8 for out in outs)
        assert len({out.tobytes() for out in outs}) > 1
        transform.prob = 0.0
        np.testing.assert_array_equal(transform(dict(img=image.copy()))["img"], image)


def test_hidden_files_are_no_references(tmp_path):
    (tmp_path / ".half-123.png").write_bytes(b"half")
    with pytest.raises(ValueError, match="has no image"):
        LABStatTransfer(reference=str(tmp_path))


def test_bad_references(tmp_path):
    with pytest.raises(ValueError, match=r"has no image\. Expected the folder of the target's"):
        LABStatTransfer(reference=str(tmp_path))
    with pytest.raises(ValueError, match=r"beta is 0\.7"):
        FDATransfer(reference=str(tmp_path), beta=0.7)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.png is no readable image"):
        FDATransfer(reference=str(tmp_path))(dict(img=photo(0)))
