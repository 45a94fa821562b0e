"""Denoisers of OpenCV and scikit-image, each tried with a grid of settings."""

from collections.abc import Callable, Iterator
from itertools import product

import cv2
import numpy as np
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

Denoiser = Callable[[np.ndarray], np.ndarray]

# For the choice of settings: side of the part of an image on which all are tried, and how many are
# tried on the whole images.
MIDDLE, FINALISTS = 192, 3


def opencv_nlm(image: np.ndarray, *, h: float, template: int, colour: float | None) -> np.ndarray:
    """Non-local means of OpenCV, on RGB at once or (``colour``) on luminance and colour."""
    pixels = np.round(image * 255).astype(np.uint8)
    if colour is None:
        result = cv2.fastNlMeansDenoising(pixels, None, h, template, 21)
    else:
        result = cv2.fastNlMeansDenoisingColored(pixels, None, h, h * colour, template, 21)
    return result / 255


def settings(sigma: float) -> dict[str, Iterator[tuple[str, Denoiser]]]:
    """Return, for each method, its settings as (description, function of an RGB image).

    Args:
        sigma: Deviation of the noise in [0, 1], around which the grids lie.

    Returns:
        Functions map (H, W, 3) float64 in [0, 1] to the same.
    """

    def nlm() -> Iterator[tuple[str, Denoiser]]:
        grid = product((0.4, 0.6, 0.8, 1.0, 1.3), (3, 5, 7), (None, 1.0, 2.0))
        for factor, template, colour in grid:
            h = factor * sigma * 255
            yield (
                f"h={h:.1f} template={template} colour={colour}",
                lambda x, o=(h, template, colour): opencv_nlm(
                    x, h=o[0], template=o[1], colour=o[2]
                ),
            )

    def skimage_nlm() -> Iterator[tuple[str, Denoiser]]:
        for factor, patch in product((0.25, 0.3, 0.4, 0.5, 0.6), (3, 5, 7)):
            yield (
                f"h={factor}*sigma patch={patch}",
                lambda x, o=(factor, patch): denoise_nl_means(
                    x,
                    patch_size=o[1],
                    patch_distance=7,
                    h=o[0] * sigma,
                    sigma=sigma,
                    channel_axis=-1,
                ),
            )

    def wavelet() -> Iterator[tuple[str, Denoiser]]:
        grid = product(("BayesShrink", "VisuShrink"), (0.3, 0.5, 0.7, 1.0, 1.3), (False, True))
        for method, factor, ycbcr in grid:
            yield (
                f"{method} sigma*{factor} ycbcr={ycbcr}",
                lambda x, o=(method, factor, ycbcr): denoise_wavelet(
                    x,
                    sigma=o[1] * sigma,
                    method=o[0],
                    mode="soft",
                    wavelet="db2",
                    convert2ycbcr=o[2],
                    rescale_sigma=True,
                    channel_axis=-1,
                ),
            )

    def total_variation() -> Iterator[tuple[str, Denoiser]]:
        for factor in (0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.6):
            yield (
                f"weight={factor * sigma:.3f}",
                lambda x, f=factor: denoise_tv_chambolle(x, weight=f * sigma, channel_axis=-1),
            )

    return {
        "OpenCV non-local means": nlm(),
        "scikit-image non-local means": skimage_nlm(),
        "scikit-image wavelet": wavelet(),
        "scikit-image total variation": total_variation(),
    }


def middle(image: np.ndarray) -> np.ndarray:
    """Return the middle (at most ``MIDDLE`` pixels a side) of an image."""
    top, left = (max(side - MIDDLE, 0) // 2 for side in image.shape[:2])
    return image[top : top + MIDDLE, left : left + MIDDLE]


def best_setting(
    candidates: Iterator[tuple[str, Denoiser]],
    pairs: list[tuple[np.ndarray, np.ndarray]],
    score: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[str, Denoiser]:
    """Return the setting with the best mean score on the very images it is reported on.

    So a method is shown at the best that its grid can do, which favours it. All settings are tried
    on the middle of each image, and the best few of them on the whole images.
    """

    def mean_score(function: Denoiser, some: list[tuple[np.ndarray, np.ndarray]]) -> float:
        return float(np.mean([score(function(noisy), clean) for noisy, clean in some]))

    middles = [tuple(middle(image) for image in pair) for pair in pairs]
    ranked = sorted(candidates, key=lambda entry: mean_score(entry[1], middles), reverse=True)
    return max(ranked[:FINALISTS], key=lambda entry: mean_score(entry[1], pairs))
