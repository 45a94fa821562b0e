"""PSNR and SSIM between two images, every published protocol under a name of its own.

The protocols are not interchangeable: for one pair of images the SSIM variants below span 0.84 to
0.94. Figures of two papers can be compared only if both name the same one.

===================  ==============================================================================
SSIM protocol        what it is, and who uses it
===================  ==============================================================================
``gaussian``         11x11 Gaussian of sigma 1.5, population covariance, mean over the pixels whose
                     window lies inside the image, then over the channels (Wang 2004, BasicSR;
                     scikit-image with ``gaussian_weights``)
``matlab2d``         the same window, borders replicated, mean over the whole map: MATLAB's ``ssim``
                     called channel by channel
``matlab3d``         11x11x11 Gaussian over height, width *and* the three channels, borders
                     replicated: what MATLAB's ``ssim`` does to an RGB array. SIDD; MPRNet's and
                     Restormer's GoPro figures (with ``rounding='uint8'``); NAFNet's ``ssim3d``
``uniform``          7x7 box, sample covariance, mean inside the border: scikit-image's default
``uniform_range2``   ``uniform`` with ``data_range=2`` for images in [0, 1], which older
                     scikit-image assumed for floats. It inflates: the constants that stabilise the
                     quotients are four times as large. Uformer's GoPro and HIDE figures
===================  ==============================================================================
"""

import numpy as np
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity

SSIM_PROTOCOLS = ("gaussian", "matlab2d", "matlab3d", "uniform", "uniform_range2")
CHANNELS = ("rgb", "y")
ROUNDINGS = ("none", "uint8")

# Luma of ITU-R BT.601 in studio range, for R, G, B in [0, 1]; 16 to 235 of 255.
_LUMA = np.array([65.481, 128.553, 24.966]) / 255
_LUMA_OFFSET = 16 / 255


def prepare_image(
    image: np.ndarray, *, channel: str = "rgb", rounding: str = "none", crop_border: int = 0
) -> np.ndarray:
    """Return an image as a protocol wants to see it.

    Args:
        image: (H, W, 3) RGB in [0, 1].
        channel: ``'rgb'``, or ``'y'`` for the luma of BT.601 in studio range. Luma is not rounded.
        rounding: ``'uint8'`` for the values that an 8-bit file would hold, ``'none'``.
        crop_border: Pixels to leave out on each side.

    Returns:
        (H, W, C) float64 in [0, 1] with 3 channels or 1.
    """
    if crop_border:
        image = image[crop_border:-crop_border, crop_border:-crop_border]
    image = image.astype(np.float64)
    if rounding == "uint8":
        image = np.round(image * 255) / 255
    if channel == "y":
        image = (image @ _LUMA + _LUMA_OFFSET)[..., None]
    return image


def psnr(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB, with peak 1.

    Args:
        pred: (H, W, C) in [0, 1].
        target: As ``pred``.

    Returns:
        Infinity for equal images.
    """
    error = np.mean(np.square(pred - target, dtype=np.float64))
    return float(-10 * np.log10(error)) if error > 0 else float("inf")


def ssim(pred: np.ndarray, target: np.ndarray, protocol: str) -> float:
    """Return the structural similarity of two images.

    Args:
        pred: (H, W, C) in [0, 1].
        target: As ``pred``.
        protocol: One of ``SSIM_PROTOCOLS``; see the table above.

    Returns:
        A value up to 1.
    """
    if protocol in ("matlab2d", "matlab3d"):
        return float(_replicated_ssim(pred, target, volumetric=protocol == "matlab3d").mean())
    options = dict(data_range=2.0 if protocol == "uniform_range2" else 1.0, channel_axis=-1)
    if protocol == "gaussian":
        options.update(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    elif protocol not in ("uniform", "uniform_range2"):
        raise ValueError(f"SSIM protocol {protocol!r}: expected one of {SSIM_PROTOCOLS}")
    return float(structural_similarity(pred, target, **options))


def _replicated_ssim(pred: np.ndarray, target: np.ndarray, *, volumetric: bool) -> np.ndarray:
    """Return MATLAB's map of similarities, (H, W, C)."""
    taps = np.exp(-0.5 * np.square(np.arange(-5, 6) / 1.5))
    taps /= taps.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        for axis in range(3 if volumetric else 2):
            image = correlate1d(image, taps, axis=axis, mode="nearest")
        return image

    pred, target = pred.astype(np.float64), target.astype(np.float64)
    mean_p, mean_t = blur(pred), blur(target)
    variance_p = blur(pred * pred) - mean_p**2
    variance_t = blur(target * target) - mean_t**2
    covariance = blur(pred * target) - mean_p * mean_t
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
    return luminance * (2 * covariance + c2) / (variance_p + variance_t + c2)
