"""Writing label files such that they are there complete or not at all."""

import os

import cv2
import numpy as np

from mmext.files import replacing


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write a png file under a temporary name beside it and rename it when it is complete.

    Args:
        path: File to write; its folder is made if need be.
        image: (H, W) or (H, W, 3) uint8 or uint16.

    Raises:
        ValueError: The array is no such image.
    """
    # Labels are large even areas: the quick level is nearly as small.
    found, content = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not found:
        raise ValueError(f"{path}: a {image.dtype} array {image.shape} cannot be a png file")
    with replacing(path) as part:
        part.write_bytes(content.tobytes())
