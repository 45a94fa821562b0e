"""GoPro and HIDE: PSNR and SSIM of saved images by each protocol that papers use.

    python -m mmext.leaderboards.gopro RESULTS TARGETS [--out FIGURES.csv]

``tools/restore.py`` writes such results. They are 8-bit files; figures of Uformer are of
predictions that were not rounded, which ``tools/test.py`` computes with the metrics of the
configs (the difference is below 0.01 dB).

* ``PSNR``: the same in all protocols.
* ``SSIM_uniform_range2``: Uformer's, inflated by a ``data_range`` of 2; 0.967 in its paper.
* ``SSIM_matlab3d``: MPRNet's and Restormer's; 0.959 to 0.961 in their papers.
* ``SSIM_uniform``: scikit-image with the right range.
"""

import numpy as np

from mmext.restoration.quality import prepare_image, psnr, ssim

from .folders import run_evaluator


def gopro_figures(pred: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Return the figures of one image.

    Args:
        pred: (H, W, 3) RGB in [0, 1], restored; rounded to 8 bits.
        target: As ``pred``.
    """
    pred, target = (prepare_image(image, rounding="uint8") for image in (pred, target))
    protocols = ("uniform_range2", "matlab3d", "uniform")
    return dict(PSNR=psnr(pred, target)) | {
        f"SSIM_{protocol}": ssim(pred, target, protocol) for protocol in protocols
    }


if __name__ == "__main__":
    run_evaluator(__doc__, gopro_figures)
