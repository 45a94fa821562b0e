"""RealBlur: PSNR and SSIM after aligning the restored image with its target.

Blurred and sharp pictures of RealBlur come from two cameras behind a beam splitter and do not fit
to the pixel, nor in brightness. The benchmark therefore scales the restored image, aligns it by a
homography and looks only at pixels that have a partner:

    python -m mmext.leaderboards.realblur RESULTS TARGETS [--out FIGURES.csv]

Source: the evaluation of RealBlur (https://github.com/rimchang/RealBlur) as Uformer uses it:
8-bit images, ECC with 100 iterations on grey images blurred by 5 pixels.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.evaluator import BaseMetric
from skimage.metrics import structural_similarity

from mmext.registry import METRICS
from mmext.restoration.metrics import image_pair
from mmext.restoration.quality import prepare_image

from .folders import run_evaluator

_BORDER = 5  # half of the SSIM window


def align(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale a restored image to its target's brightness and warp it onto it.

    Args:
        pred: (H, W, 3) RGB in [0, 1].
        target: As ``pred``.

    Returns:
        The warped image, float64, and an (H, W, 3) mask that is 0 where it has no pixel.

    Raises:
        ValueError: No alignment is found.
    """
    pred, target = pred.astype(np.float64), target.astype(np.float64)
    energy = (pred * pred).sum()
    scaled = pred * ((target * pred).sum() / energy) if energy > 0 else pred
    grey = [
        cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY) for image in (target, scaled)
    ]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 0)
    start = np.eye(3, dtype=np.float32)
    try:
        _, warp = cv2.findTransformECC(
            *grey, start, cv2.MOTION_HOMOGRAPHY, criteria, inputMask=None, gaussFiltSize=5
        )
    except cv2.error as error:
        raise ValueError(
            "the restored image cannot be aligned with its target: expected the same scene, with "
            "some contrast; look at the two"
        ) from error
    size = (target.shape[1], target.shape[0])
    warped = cv2.warpPerspective(
        scaled,
        warp,
        size,
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    mask = cv2.warpPerspective(
        np.ones_like(scaled),
        warp,
        size,
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return warped, mask


def realblur_figures(pred: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Return PSNR and SSIM of an aligned pair.

    Args:
        pred: (H, W, 3) RGB in [0, 1], restored.
        target: As ``pred``.

    Returns:
        ``PSNR_aligned`` in dB: peak 1, squared error over the mask's pixels. ``SSIM_aligned``:
        Gaussian window, over the mask's pixels at least 5 pixels from the border.
    """
    pred, target = (prepare_image(image, rounding="uint8") for image in (pred, target))
    warped, mask = align(pred, target)
    warped, target = warped * mask, target * mask
    error = ((warped - target) ** 2).sum() / mask.sum()
    _, similarity = structural_similarity(
        target,
        warped,
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    inner = (slice(_BORDER, -_BORDER), slice(_BORDER, -_BORDER))
    per_channel = (similarity * mask)[inner].sum((0, 1)) / mask[inner].sum((0, 1))
    return dict(
        PSNR_aligned=float(-10 * np.log10(error)) if error > 0 else float("inf"),
        SSIM_aligned=float(per_channel.mean()),
    )


@METRICS.register_module()
class RealBlurMetric(BaseMetric):
    """PSNR and SSIM of RealBlur, see :func:`realblur_figures`; means over images.

    Args:
        collect_device: As for :class:`mmengine.evaluator.BaseMetric`.
        prefix: Prefix of the figures' names.
    """

    default_prefix = "realblur"

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add the figures of each image."""
        for sample in data_samples:
            try:
                self.results.append(realblur_figures(*image_pair(sample, "RealBlurMetric")))
            except ValueError as error:
                raise ValueError(f"{sample.get('img_path')}: {error}") from error

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        """Return the means over images."""
        return {key: float(np.mean([row[key] for row in results])) for key in results[0]}


if __name__ == "__main__":
    run_evaluator(__doc__, realblur_figures)
