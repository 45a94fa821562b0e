"""From image files' values to the network's: RGB in [0, 1], mixed up where the recipe says so."""

from collections.abc import Sequence

import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmext.registry import MODELS

_PEAKS = {torch.uint8: 255.0, torch.uint16: 65535.0}


def to_unit_rgb(image: Tensor, bgr_to_rgb: bool = True) -> Tensor:
    """Return an image as float32 RGB in [0, 1].

    Args:
        image: (C, H, W) uint8, uint16, or float in [0, 1]; C a multiple of 3 (views of 3 channels
            each).
        bgr_to_rgb: Whether the channels of each view come as BGR.

    Returns:
        (C, H, W) float32.

    Raises:
        ValueError: Another dtype or number of channels.
    """
    if image.dtype not in _PEAKS and not image.is_floating_point():
        raise ValueError(
            f"an image of type {image.dtype}: expected uint8, uint16, or floats in [0, 1]"
        )
    if image.shape[0] % 3:
        raise ValueError(
            f"an image of shape {tuple(image.shape)}: expected (3, H, W), or a multiple of 3 "
            "channels for several views"
        )
    scaled = image.float() / _PEAKS.get(image.dtype, 1.0)
    return scaled.unflatten(0, (-1, 3)).flip(1).flatten(0, 1) if bgr_to_rgb else scaled


def mixup(inputs: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Mix each pair of a batch with another one of it.

    Args:
        inputs: (B, C, H, W).
        targets: (B, 3, H, W).
        alpha: Each pair's share is drawn from Beta(alpha, alpha).

    Returns:
        Mixed inputs and targets: inputs and targets of a pair share partner and weight.

    Source: Uformer's official training code for denoising, alpha = 1.2.
    """
    count = len(inputs)
    share = torch.distributions.Beta(alpha, alpha).sample((count, 1, 1, 1)).to(inputs)
    partner = torch.randperm(count, device=inputs.device)
    return (
        share * inputs + (1 - share) * inputs[partner],
        share * targets + (1 - share) * targets[partner],
    )


@MODELS.register_module()
class RestorationDataPreprocessor(BaseDataPreprocessor):
    """Brings images to the device, as RGB in [0, 1]; mixes batches in training.

    Args:
        bgr_to_rgb: Whether the images come as BGR, as OpenCV reads them.
        mixup_alpha: Mix training batches, with shares from Beta(alpha, alpha); None: never.
        mixup_from_epoch: First epoch that is mixed, counted from 1 (the recipe: 6).
        non_blocking: As for :class:`mmengine.model.BaseDataPreprocessor`.
    """

    def __init__(
        self,
        *,
        bgr_to_rgb: bool = True,
        mixup_alpha: float | None = None,
        mixup_from_epoch: int = 6,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        self.bgr_to_rgb = bgr_to_rgb
        self.mixup_alpha = mixup_alpha
        self.mixup_from_epoch = mixup_from_epoch

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs``, a list of (C, H, W) tensors or a (B, C, H, W) one, and
                ``data_samples``, a list or None.
            training: Whether the batch is to be learned from.

        Returns:
            ``inputs``: (B, C, H, W) in [0, 1], or a list of (C, H, W) where sizes differ.
            ``data_samples``: the samples with ``gt_img`` in [0, 1], or None.

        Raises:
            ValueError: The images of a training batch differ in size.
        """
        data = self.cast_data(data)
        images = [to_unit_rgb(image, self.bgr_to_rgb) for image in data["inputs"]]
        samples = data.get("data_samples")
        for sample in samples or ():
            if "gt_img" in sample:
                sample.gt_img = to_unit_rgb(sample.gt_img, self.bgr_to_rgb)
        equal = all(image.shape == images[0].shape for image in images)
        if training and not equal:
            sizes = sorted({tuple(image.shape[1:]) for image in images})
            raise ValueError(
                f"the images of a training batch differ in size: {sizes}. Add a PairedRandomCrop "
                "to the pipeline."
            )
        inputs = torch.stack(images) if equal else images
        if training and self._mixes():
            inputs = self._mix(inputs, samples)
        return dict(inputs=inputs, data_samples=samples)

    def _mixes(self) -> bool:
        if self.mixup_alpha is None:
            return False
        epoch = MessageHub.get_current_instance().get_info("epoch", 0)  # counted from 0
        return epoch + 1 >= self.mixup_from_epoch

    def _mix(self, inputs: Tensor, samples: Sequence) -> Tensor:
        targets = torch.stack([sample.gt_img for sample in samples])
        inputs, targets = mixup(inputs, targets, self.mixup_alpha)
        for sample, target in zip(samples, targets, strict=True):
            sample.gt_img = target
        return inputs
