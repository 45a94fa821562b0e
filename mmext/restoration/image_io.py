"""Image files as arrays: 8 and 16 bits, grey and colour, with or without transparency."""

import os
from pathlib import Path

import cv2
import numpy as np

from mmext.files import replacing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
PEAKS = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}


class ImageError(ValueError):
    """A file is no image that can be restored; the message names it and the remedy."""


def decode_image(content: bytes | None, name: str) -> np.ndarray:
    """Decode an image without changing its depth or channels.

    Args:
        content: The bytes of the file; None if a store does not have it.
        name: Its name, for messages.

    Returns:
        (H, W, C) with C = 1 (grey), 3 (BGR) or 4 (BGR and alpha); uint8, uint16, or float32 in
        [0, 1].

    Raises:
        ImageError: The content is no image, or its values are of another kind.
    """
    data = np.frombuffer(content or b"", np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise ImageError(
            f"{name} is no readable image ({data.size} bytes). Expected a complete file of one of "
            f"the kinds {', '.join(IMAGE_SUFFIXES)}; copy or download it again, or remove it."
        )
    if image.dtype not in PEAKS:
        raise ImageError(
            f"{name} has values of type {image.dtype}. Expected 8 or 16 bits per channel, or "
            "32-bit floats in [0, 1]; convert it."
        )
    return image[..., None] if image.ndim == 2 else image


def to_bgr(image: np.ndarray, name: str) -> np.ndarray:
    """Return an image with three channels.

    Grey becomes three equal channels. An alpha channel is dropped if it is opaque everywhere.

    Args:
        image: (H, W, C) of :func:`decode_image`.
        name: Name of the file, for messages.

    Returns:
        (H, W, 3) BGR of the same dtype.

    Raises:
        ImageError: The image is transparent somewhere, so that its colours there mean nothing, or
            it has two channels or more than four.
    """
    channels = image.shape[2]
    if channels == 1:
        return np.repeat(image, 3, axis=2)
    if channels == 4 and (image[..., 3] < PEAKS[image.dtype]).any():
        raise ImageError(
            f"{name} has transparent pixels, whose colours mean nothing. Expected an opaque image; "
            "paint it on a background, or remove it."
        )
    if channels not in (3, 4):
        raise ImageError(
            f"{name} has {channels} channels. Expected 1 (grey), 3 (colour) or 4 (with alpha)."
        )
    return image[..., :3]


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read a file as :func:`decode_image` does.

    Raises:
        FileNotFoundError: The file does not exist.
        ImageError: It is no image.
    """
    return decode_image(Path(path).read_bytes(), str(path))


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write an image under a temporary name and rename it when it is complete.

    JPEG files get quality 95 and full colour resolution, png files quick compression.

    Args:
        path: File to write; the suffix decides its kind.
        image: (H, W), or (H, W, C) with 1 channel, BGR, or BGR and alpha; uint8, uint16 or float32.

    Raises:
        ImageError: The kind of file cannot hold such an image.
    """
    path = Path(path)
    options = {
        ".jpg": [
            *(cv2.IMWRITE_JPEG_QUALITY, 95),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ],
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
    }
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ImageError(
            f"{path}: unknown kind of image. Expected a name that ends with one of "
            f"{', '.join(IMAGE_SUFFIXES)}."
        )
    channels = image.shape[2] if image.ndim == 3 else 1
    kinds = {np.dtype(np.uint8): IMAGE_SUFFIXES, np.dtype(np.uint16): (".png", ".tif", ".tiff")}
    if suffix not in kinds.get(image.dtype, (".tif", ".tiff")) or (
        channels == 4 and suffix in (".jpg", ".jpeg")
    ):
        raise ImageError(
            f"{path}: a {suffix} file cannot hold {image.dtype} values with {channels} channels. "
            "Name a .png file, or .tif for floats."
        )
    found, content = cv2.imencode(suffix, image, options.get(suffix.replace("jpeg", "jpg"), []))
    if not found:
        raise ImageError(f"{path}: OpenCV cannot encode this image as {suffix}.")
    with replacing(path) as part:
        part.write_bytes(content.tobytes())
