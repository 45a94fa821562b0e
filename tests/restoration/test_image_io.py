import cv2
import numpy as np
import pytest

from mmext.restoration.image_io import ImageError, decode_image, read_image, to_bgr, write_image


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_round_trip(tmp_path, suffix, dtype, channels):
    limit = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(0, limit, (5, 7, channels), dtype, endpoint=True)
    write_image(tmp_path / f"a{suffix}", image)
    read = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read, image)
    assert read.dtype == dtype
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_keeps_colour_resolution(tmp_path, suffix):
    """Red and blue stripes of one pixel survive only without chroma subsampling."""
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, ::2, 0] = image[:, 1::2, 2] = 255
    write_image(tmp_path / f"a{suffix}", image)
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - image).mean() < 10


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a.jpg", np.zeros((4, 4, 3), np.uint16)),
        ("a.jpg", np.zeros((4, 4, 4), np.uint8)),
        ("a.bmp", np.zeros((4, 4), np.uint16)),
        ("a.gif", np.zeros((4, 4), np.uint8)),
    ],
)
def test_what_a_kind_cannot_hold_is_refused(tmp_path, name, image):
    with pytest.raises(ImageError, match=name):
        write_image(tmp_path / name, image)
    assert not list(tmp_path.iterdir())


def cut_short(suffix):
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = cv2.imencode(suffix, picture)[1].tobytes()
    return content[: len(content) * 2 // 3]


@pytest.mark.parametrize(
    "content", [None, b"", b"<html>", cut_short(".png"), cut_short(".jpg")], ids=str
)
def test_what_is_no_image_is_named(content):
    with pytest.raises(ImageError, match=r"photo\.png is no readable image"):
        decode_image(content, "photo.png")


def test_other_values_are_refused():
    content = cv2.imencode(".tiff", np.zeros((4, 4), np.float64))[1].tobytes()
    with pytest.raises(ImageError, match="values of type float64"):
        decode_image(content, "a.tiff")


def test_grey_and_opaque_become_colour():
    grey = np.full((2, 3, 1), 7, np.uint16)
    assert to_bgr(grey, "a").shape == (2, 3, 3)
    opaque = np.full((2, 3, 4), 255, np.uint8)
    np.testing.assert_array_equal(to_bgr(opaque, "a"), opaque[..., :3])


@pytest.mark.parametrize(
    ("channels", "message"), [(4, r"a\.png has transparent pixels"), (2, "2 channels")]
)
def test_transparent_and_odd_images_are_refused(channels, message):
    with pytest.raises(ImageError, match=message):
        to_bgr(np.full((2, 3, channels), 254, np.uint8), "a.png")
