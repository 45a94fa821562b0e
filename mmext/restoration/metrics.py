"""PSNR and SSIM as mmengine metrics."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmext.registry import METRICS

from .quality import CHANNELS, ROUNDINGS, SSIM_PROTOCOLS, prepare_image, psnr, ssim


def to_image(tensor: Tensor) -> np.ndarray:
    """Return a (3, H, W) tensor as an (H, W, 3) float32 array on the CPU."""
    return tensor.detach().float().cpu().permute(1, 2, 0).numpy()


def image_pair(sample: dict, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return prediction and target of a data sample, each (H, W, 3) float32 RGB in [0, 1].

    Args:
        sample: A data sample as a dict, with ``pred_img`` and ``gt_img``.
        metric: Name of the metric, for messages.

    Raises:
        ValueError: The sample has no target, or one of another size.
    """
    name = sample.get("img_path", "an image")
    if sample.get("gt_img") is None:
        raise ValueError(
            f"{metric}: {name} has no target image. Expected a PairedImageDataset in the loader "
            "whose evaluator this is; remove the metric to predict without targets."
        )
    pred, target = to_image(sample["pred_img"]), to_image(sample["gt_img"])
    if pred.shape != target.shape:
        raise ValueError(
            f"{metric}: the restored image of {name} is {pred.shape[1]}x{pred.shape[0]}, its "
            f"target {target.shape[1]}x{target.shape[0]}. Expected equal sizes; correct the pair."
        )
    return pred, target


class _PairMetric(BaseMetric):
    """The mean over images of a figure of prediction and target."""

    def __init__(
        self, channel: str, rounding: str, crop_border: int, collect_device: str, prefix: str | None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        for key, value, allowed in (
            ("channel", channel, CHANNELS),
            ("rounding", rounding, ROUNDINGS),
        ):
            if value not in allowed:
                raise ValueError(
                    f"{type(self).__name__}.{key} is {value!r}. Expected one of {allowed}."
                )
        self.options = dict(channel=channel, rounding=rounding, crop_border=crop_border)

    def figure(self, pred: np.ndarray, target: np.ndarray) -> float:
        """Return the figure of one pair of (H, W, C) images in [0, 1]."""
        raise NotImplementedError

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add a figure per image to the results."""
        for sample in data_samples:
            pair = image_pair(sample, type(self).__name__)
            self.results.append(
                self.figure(*(prepare_image(image, **self.options) for image in pair))
            )

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Return the mean over images."""
        return {type(self).__name__: math.fsum(results) / len(results)}


@METRICS.register_module()
class PSNR(_PairMetric):
    """Peak signal-to-noise ratio in dB with peak 1, a mean over images.

    ``mmext.PSNR`` with its defaults is what SIDD, GoPro and HIDE of Uformer report: RGB, clamped,
    not rounded. Deraining is mostly reported as ``channel='y'``, and figures of saved 8-bit files
    (MPRNet, Restormer) are ``rounding='uint8'``.

    Args:
        channel: ``'rgb'``, or ``'y'`` for BT.601 luma (:func:`quality.prepare_image`).
        rounding: ``'none'``, or ``'uint8'`` for the values that an 8-bit file would hold.
        crop_border: Pixels to leave out on each side.
        collect_device: As for :class:`mmengine.evaluator.BaseMetric`.
        prefix: Prefix of the figure's name.
    """

    default_prefix = "restoration"

    def __init__(
        self,
        *,
        channel: str = "rgb",
        rounding: str = "none",
        crop_border: int = 0,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(channel, rounding, crop_border, collect_device, prefix)

    def figure(self, pred: np.ndarray, target: np.ndarray) -> float:
        """Return the PSNR of one pair of (H, W, C) images in [0, 1]."""
        return psnr(pred, target)


@METRICS.register_module()
class SSIM(_PairMetric):
    """Structural similarity by a named protocol, a mean over images.

    Args:
        protocol: One of ``'gaussian'``, ``'matlab2d'``, ``'matlab3d'``, ``'uniform'``,
            ``'uniform_range2'``; :mod:`mmext.restoration.quality` says which is whose.
        channel: ``'rgb'``, or ``'y'`` for BT.601 luma.
        rounding: ``'none'``, or ``'uint8'`` for the values that an 8-bit file would hold.
        crop_border: Pixels to leave out on each side.
        collect_device: As for :class:`mmengine.evaluator.BaseMetric`.
        prefix: Prefix of the figure's name.

    The figure is named ``SSIM_<protocol>``, so that it is never read as another one.
    """

    default_prefix = "restoration"

    def __init__(
        self,
        *,
        protocol: str,
        channel: str = "rgb",
        rounding: str = "none",
        crop_border: int = 0,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(channel, rounding, crop_border, collect_device, prefix)
        if protocol not in SSIM_PROTOCOLS:
            raise ValueError(f"SSIM.protocol is {protocol!r}. Expected one of {SSIM_PROTOCOLS}.")
        self.protocol = protocol

    def figure(self, pred: np.ndarray, target: np.ndarray) -> float:
        """Return the SSIM of one pair of (H, W, C) images in [0, 1]."""
        return ssim(pred, target, self.protocol)

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Return the mean over images."""
        return {f"SSIM_{self.protocol}": math.fsum(results) / len(results)}
