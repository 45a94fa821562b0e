"""Blurring images at random, a part of strong augmentation."""

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmext.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blur an image with a Gaussian of random width.

    Args:
        prob: How often to do so.
        sigma: Bounds of the standard deviation in pixels.

    Raises:
        ValueError: Bounds that are not positive or not in order.

    Source: DACS (Tranheden et al., WACV 2021) and its code: half of the images, 0.15 to 1.15.
    """

    def __init__(self, *, prob: float = 0.5, sigma: tuple[float, float] = (0.15, 1.15)) -> None:
        low, high = sigma
        if not 0 < low <= high:
            raise ValueError(
                f"RandomGaussianBlur.sigma is {sigma}. Expected two positive numbers, the lower "
                "one first."
            )
        self.prob = prob
        self.sigma = (low, high)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``img``."""
        if np.random.random() < self.prob:
            width = np.random.uniform(*self.sigma)
            results["img"] = cv2.GaussianBlur(results["img"], (0, 0), sigmaX=width)
        return results
