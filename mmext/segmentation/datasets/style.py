"""Giving a source image the colours or the low frequencies of a target's image."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from scipy import fft

from mmext.registry import TRANSFORMS

_SUFFIXES = (".png", ".jpg", ".jpeg")
_MIN_DEVIATION = 1e-5


def lab_statistics_transfer(
    image: np.ndarray,
    reference: np.ndarray,
    *,
    ratio_range: tuple[float, float] = (0.5, 2.0),
    keep_lightness: bool = False,
) -> np.ndarray:
    """Give an image the mean and spread of another one's colours in LAB.

    ``(x - mean(x)) / std(x) * std(r) + mean(r)`` for each channel, over whole images, population
    standard deviation, computed in floats.

    Args:
        image: (H, W, 3) uint8 BGR.
        reference: (h, w, 3) uint8 BGR.
        ratio_range: Bounds of ``std(r) / std(x)``: without them images of little colour, such as
            fog, get artefacts.
        keep_lightness: Whether to change the two colour channels only.

    Returns:
        (H, W, 3) uint8 BGR.

    Source: Reinhard et al., "Color Transfer between Images", 2001, in LAB as for multi-source
    adaptation (He et al., CVPR 2021, section 3.2). Code around it works on 8-bit LAB, which cuts
    colours: :func:`lab_statistics_transfer_8bit`.
    """
    lab, other = (
        cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
        for picture in (image, reference)
    )
    mean, std = lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))
    other_mean, other_std = other.mean(axis=(0, 1)), other.std(axis=(0, 1))
    ratio = (other_std / np.maximum(std, _MIN_DEVIATION)).clip(*ratio_range)
    moved = (lab - mean) * ratio + other_mean
    if keep_lightness:
        moved[..., 0] = lab[..., 0]
    bgr = cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_LAB2BGR)
    return np.round(bgr.clip(0, 1) * 255).astype(np.uint8)


def lab_statistics_transfer_8bit(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Do the same on 8-bit LAB without bounds, clipped and truncated, as the field's code does.

    Args:
        image: (H, W, 3) uint8 BGR.
        reference: (h, w, 3) uint8 BGR.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    lab, other = (
        cv2.cvtColor(picture, cv2.COLOR_BGR2LAB).astype(np.float64)
        for picture in (image, reference)
    )
    spread = lab.std(axis=(0, 1))
    ratio = other.std(axis=(0, 1)) / np.where(spread > 0, spread, 1)
    moved = (lab - lab.mean(axis=(0, 1))) * ratio + other.mean(axis=(0, 1))
    return cv2.cvtColor(moved.clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2BGR)


def fourier_transfer(image: np.ndarray, reference: np.ndarray, beta: float) -> np.ndarray:
    """Give an image the low-frequency amplitudes of another one.

    Args:
        image: (H, W, 3) uint8.
        reference: (H, W, 3) uint8 of the same size.
        beta: Half the side of the exchanged square, as a share of the shorter side of the
            spectrum.

    Returns:
        (H, W, 3) uint8.

    Source: Yang and Soatto, "FDA: Fourier Domain Adaptation for Semantic Segmentation", CVPR 2020,
    equations 1 to 3.
    """
    height, width = image.shape[:2]
    reach = int(min(height, width) * beta)
    spectrum, other = (
        fft.rfft2(picture.astype(np.float32), axes=(0, 1)) for picture in (image, reference)
    )
    # rfft2 keeps half of the columns; the square around frequency 0 wraps around in the rows.
    rows = np.r_[: reach + 1, height - reach : height] if 2 * reach < height else np.arange(height)
    low = np.ix_(rows, np.arange(min(reach + 1, spectrum.shape[1])), np.arange(3))
    spectrum[low] = np.abs(other[low]) * np.exp(1j * np.angle(spectrum[low]))
    mixed = fft.irfft2(spectrum, s=(height, width), axes=(0, 1))
    return np.round(mixed.clip(0, 255)).astype(np.uint8)


class ReferenceImages:
    """Random images below a folder.

    Args:
        folder: Folder of the images.
        what: Name of the transform, for messages.

    Raises:
        ValueError: The folder has no image.
    """

    def __init__(self, folder: str, what: str) -> None:
        self.paths = sorted(
            str(path)
            for path in Path(folder).rglob("*")
            # Hidden ones are half written, or some system's notes on a file.
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
        )
        if not self.paths:
            raise ValueError(
                f"{what}.reference {folder!r} has no image. Expected the folder of the target's "
                f"images ({', '.join(_SUFFIXES)})."
            )

    def draw(self) -> np.ndarray:
        """Return one, (h, w, 3) uint8 BGR."""
        path = self.paths[np.random.randint(len(self.paths))]
        image = cv2.imread(path)
        if image is None:
            raise ValueError(f"{path} is no readable image; remove it or copy it again.")
        return image


@TRANSFORMS.register_module()
class LABStatTransfer(BaseTransform):
    """Give each image the colour statistics of a random image of a target, anew at each load.

    Args:
        reference: Folder of the target's images; those below it in other folders are taken, too.
        prob: How often to do so.
        ratio_range: As for :func:`lab_statistics_transfer`.
        keep_lightness: Likewise.
        eight_bit: Compute as the field's code does, see :func:`lab_statistics_transfer_8bit`.
    """

    def __init__(
        self,
        *,
        reference: str,
        prob: float = 1.0,
        ratio_range: tuple[float, float] = (0.5, 2.0),
        keep_lightness: bool = False,
        eight_bit: bool = False,
    ) -> None:
        self.references = ReferenceImages(reference, type(self).__name__)
        self.prob = prob
        self.options = dict(ratio_range=tuple(ratio_range), keep_lightness=keep_lightness)
        self.eight_bit = eight_bit

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``img``."""
        if np.random.random() < self.prob:
            reference = self.references.draw()
            if self.eight_bit:
                results["img"] = lab_statistics_transfer_8bit(results["img"], reference)
            else:
                results["img"] = lab_statistics_transfer(results["img"], reference, **self.options)
        return results


@TRANSFORMS.register_module()
class FDATransfer(BaseTransform):
    """Give each image the low frequencies of a random image of a target, anew at each load.

    Args:
        reference: Folder of the target's images.
        beta: As for :func:`fourier_transfer` (paper: 0.01, 0.05, 0.09).
        prob: How often to do so.
    """

    def __init__(self, *, reference: str, beta: float = 0.01, prob: float = 1.0) -> None:
        if not 0 <= beta <= 0.5:
            raise ValueError(f"FDATransfer.beta is {beta}. Expected a share from 0 to 0.5.")
        self.references = ReferenceImages(reference, type(self).__name__)
        self.beta = beta
        self.prob = prob

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``img``."""
        if np.random.random() < self.prob:
            size = results["img"].shape[1::-1]
            reference = cv2.resize(self.references.draw(), size, interpolation=cv2.INTER_AREA)
            results["img"] = fourier_transfer(results["img"], reference, self.beta)
        return results
