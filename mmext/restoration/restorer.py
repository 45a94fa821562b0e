"""The model around a restoration network: losses, prediction, large images."""

import math
from collections.abc import Callable

import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn import functional

from mmext.registry import MODELS

from .tiling import tiled_forward

_TEST_OPTIONS = {"tile", "overlap", "pad_multiple", "pad_mode"}
_PAD_MODES = ("reflect", "square_zero")


def pad_to_multiple(
    image: Tensor, multiple: int, mode: str = "reflect"
) -> tuple[Tensor, tuple[slice, slice]]:
    """Enlarge images to sides that a network can halve.

    Args:
        image: (B, C, H, W).
        multiple: The new sides are multiples of this.
        mode: ``'reflect'`` mirrors the right and bottom border (and repeats it where the image is
            too small to mirror). ``'square_zero'`` is what Uformer's official test scripts do: the
            image in the middle of a black square; with it their figures are reproduced.

    Returns:
        The enlarged images, and the rows and columns at which the original lies.
    """
    height, width = image.shape[-2:]
    if mode == "square_zero":
        side = math.ceil(max(height, width) / multiple) * multiple
        top, left = (side - height) // 2, (side - width) // 2
        borders = (left, side - width - left, top, side - height - top)
        padded = functional.pad(image, borders) if any(borders) else image
    else:
        top = left = 0
        bottom, right = -height % multiple, -width % multiple
        mode = "reflect" if bottom < height and right < width else "replicate"
        padded = functional.pad(image, (0, right, 0, bottom), mode) if bottom or right else image
    return padded, (slice(top, top + height), slice(left, left + width))


@MODELS.register_module()
class ImageRestorer(BaseModel):
    """Any network that maps degraded images to restored ones, with losses and prediction.

    Args:
        generator: Config of the network: (B, C, H, W) RGB in [0, 1] to (B, 3, H, W).
        losses: Configs of the losses, by the name under which they are logged (it contains
            ``loss``); each maps prediction and target to a scalar, and they are added up.
        data_preprocessor: Config of the data preprocessor.
        test_cfg: How :meth:`predict` treats images, all optional. ``tile``: side of the tiles in
            pixels, or (height, width), for images larger than that; None: whole images.
            ``overlap`` (32): pixels that tiles share. ``pad_multiple`` (1): sides are enlarged to a
            multiple of this, for networks that do not do it themselves. ``pad_mode``
            (``'reflect'``): see :func:`pad_to_multiple`.
        init_cfg: As for :class:`mmengine.model.BaseModule`.
    """

    def __init__(
        self,
        *,
        generator: dict,
        losses: dict[str, dict] = dict(loss_charbonnier=dict(type="mmext.CharbonnierLoss")),
        data_preprocessor: dict = dict(type="mmext.RestorationDataPreprocessor"),
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.generator = MODELS.build(generator)
        unnamed = [name for name in losses if "loss" not in name]
        if unnamed:
            raise ValueError(
                f"model.losses has {unnamed[0]!r}. Expected names that contain 'loss': mmengine "
                "adds up only those and logs the others."
            )
        self.losses = torch.nn.ModuleDict({name: MODELS.build(cfg) for name, cfg in losses.items()})
        test_cfg = dict(test_cfg or {})
        unknown = sorted(test_cfg.keys() - _TEST_OPTIONS)
        if unknown or test_cfg.get("pad_mode", "reflect") not in _PAD_MODES:
            raise ValueError(
                f"model.test_cfg is {test_cfg}. Expected the keys {sorted(_TEST_OPTIONS)}, and "
                f"pad_mode one of {_PAD_MODES}."
            )
        self.test_cfg = dict(tile=None, overlap=32, pad_multiple=1, pad_mode="reflect") | test_cfg

    def forward(
        self,
        inputs: Tensor | list[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Restore, learn, or predict.

        Args:
            inputs: (B, C, H, W) RGB in [0, 1]; for ``'predict'`` also a list of (C, H, W).
            data_samples: For ``'loss'`` with ``gt_img``, (3, H, W) in [0, 1].
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            ``'tensor'``: (B, 3, H, W), restored, not clamped. ``'loss'``: the losses by name.
            ``'predict'``: see :meth:`predict`.

        Raises:
            ValueError: Another mode.
        """
        if mode == "tensor":
            return self.restore(inputs)
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode {mode!r}: expected 'tensor', 'loss' or 'predict'")

    def restore(self, inputs: Tensor) -> Tensor:
        """Restore (B, C, H, W) images in one piece; padded as ``test_cfg`` says, not clamped."""
        padded, (rows, columns) = pad_to_multiple(
            inputs, self.test_cfg["pad_multiple"], self.test_cfg["pad_mode"]
        )
        return self.generator(padded)[..., rows, columns]

    def loss(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> dict[str, Tensor]:
        """Return the losses.

        Args:
            inputs: (B, C, H, W) RGB in [0, 1].
            data_samples: With ``gt_img``, (3, H, W) in [0, 1].

        Raises:
            FloatingPointError: A loss is not finite; the message names iteration and images.
        """
        target = torch.stack([sample.gt_img for sample in data_samples])
        restored = self.generator(inputs)
        losses = {name: loss(restored, target) for name, loss in self.losses.items()}
        for name, value in losses.items():
            if not value.isfinite():
                raise FloatingPointError(_not_finite(name, value.item(), data_samples))
        return losses

    @torch.no_grad()
    def predict(
        self,
        inputs: Tensor | list[Tensor],
        data_samples: list[BaseDataElement] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[BaseDataElement]:
        """Restore images of any size, tile by tile if ``test_cfg`` says so.

        Args:
            inputs: (B, C, H, W) RGB in [0, 1], or a list of (C, H, W).
            data_samples: One per image; None makes new ones.
            progress: Called with (tiles done, tiles in all) after each tile of a batch.

        Returns:
            The samples with ``pred_img``, (3, H, W) RGB float32 in [0, 1].
        """
        if isinstance(inputs, Tensor):
            restored = self._restore_tiled(inputs, progress)
        else:
            restored = [self._restore_tiled(image[None], progress)[0] for image in inputs]
        if data_samples is None:
            data_samples = [BaseDataElement() for _ in restored]
        for sample, image in zip(data_samples, restored, strict=True):
            sample.pred_img = image.float().clamp(0, 1)
        return data_samples

    def _restore_tiled(
        self, images: Tensor, progress: Callable[[int, int], None] | None = None
    ) -> Tensor:
        tile = self.test_cfg["tile"]
        if tile is None:
            return self.restore(images)
        return tiled_forward(self.restore, images, tile, self.test_cfg["overlap"], progress)


def _not_finite(name: str, value: float, data_samples: list[BaseDataElement]) -> str:
    iteration = MessageHub.get_current_instance().get_info("iter")
    images = [str(sample.get("img_path", "unnamed image")) for sample in data_samples]
    more = f" and {len(images) - 4} more" if len(images) > 4 else ""
    return (
        f"{name} is {value} at iteration {'unknown' if iteration is None else iteration + 1}, with "
        f"the images {', '.join(images[:4])}{more}. The weights of the last checkpoint are not "
        "affected. Lower optim_wrapper.optimizer.lr or set optim_wrapper.clip_grad, train without "
        "--amp if it was given, and check that these images are what they should be."
    )
