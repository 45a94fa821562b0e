"""Rotated IoU as a regression loss, on CPUs too."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mmext.ops import rotated_iou
from mmext.registry import MODELS

from .box_checks import as_box_pair, check_rows, raise_sides, row_weights
from .gaussian_losses import Reduction, reduce_rows

Mode = Literal["linear", "square", "log"]


def rotated_iou_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    mode: Mode = "log",
    eps: float = 1e-6,
    reduction: Reduction = "mean",
    avg_factor: float | Tensor | None = None,
    name: str = "rotated_iou_loss",
) -> Tensor:
    """Loss of the IoU of pairs of rotated boxes: ``1 - IoU``, ``1 - IoU^2`` or ``-log(IoU)``.

    Exact, and the measure that detections are judged by; but boxes that do not overlap get no
    gradient, and one long box within reach of another gets little. The Gaussian losses
    (:func:`mmext.rotated.gaussian_distance_loss`) fill that gap.

    Computed in float32 at least, whatever the boxes are in and autocast says. Rows of weight 0 are
    not looked at: they get a gradient of exactly 0, whatever they hold. Predicted sides of zero or
    less are raised (:func:`mmext.rotated.box_checks.raise_sides`), for else such boxes, whose IoU
    is 0, would stay as they are.

    Args:
        pred (Tensor): (N, 5) rboxes x, y, w, h in pixels (or any other unit of length), angle in
            radians; mmdet's box types are taken too.
        target (Tensor): (N, 5) rboxes.
        weight (Tensor | None): (N,) factors, or (N, 5), of which the mean over 5 counts.
        mode (str): ``'linear'``, ``'square'`` or ``'log'``.
        eps (float): An IoU below it counts as ``eps``, and has no gradient.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor (float | Tensor | None): Divisor of the sum under ``'mean'``, N if not given.
        name (str): What messages call the loss.

    Returns:
        Tensor: Scalar, or (N,) with ``reduction='none'``.

    Raises:
        ValueError: Shapes do not fit, or a row that counts holds what no detector can have meant
            (:func:`mmext.rotated.box_checks.check_rows`).

    Source: mmrotate's ``rotated_iou_loss``, of the same values, which needs CUDA.
    """
    pred, target = as_box_pair(pred, target, name)
    if weight is not None:
        weight = row_weights(weight, pred, name)
    # A decision about values would break the graph that torch.compile makes.
    if torch.compiler.is_compiling() or check_rows(pred, target, weight, name):
        pred = raise_sides(pred, target)
    with torch.autocast(pred.device.type, enabled=False):
        iou = rotated_iou(pred, target, mask=None if weight is None else weight != 0)
        iou = iou.clamp(min=eps)
        loss = -iou.log() if mode == "log" else 1 - (iou if mode == "linear" else iou**2)
        return reduce_rows(loss if weight is None else loss * weight, reduction, avg_factor)


@MODELS.register_module()
class RotatedIoULoss(nn.Module):
    """Takes the place of mmrotate's ``RotatedIoULoss``: write ``type='mmext.RotatedIoULoss'``.

    Module form of :func:`rotated_iou_loss`. Arguments, their defaults and the losses are
    mmrotate's; that one stops on a CPU, for mmcv has compiled its IoU for CUDA only.

    Args:
        linear (bool): The same as ``mode='linear'``.
        eps (float): An IoU below it counts as ``eps``, and has no gradient.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        loss_weight (float): Factor on the result.
        mode (str): ``'linear'``, ``'square'`` or ``'log'``.

    Raises:
        ValueError: ``mode`` or ``reduction`` is none of those.
    """

    def __init__(
        self,
        linear: bool = False,
        eps: float = 1e-6,
        reduction: Reduction = "mean",
        loss_weight: float = 1.0,
        mode: Mode = "log",
    ) -> None:
        super().__init__()
        for option, value, known in (("mode", mode, Mode), ("reduction", reduction, Reduction)):
            if value not in get_args(known):
                raise ValueError(
                    f"RotatedIoULoss: {option} must be one of {', '.join(get_args(known))}, got "
                    f"{value!r}."
                )
        self.mode: Mode = "linear" if linear else mode
        self.eps = eps
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: Reduction | None = None,
    ) -> Tensor:
        """Return the weighted loss.

        Args:
            pred (Tensor): (N, 5) rboxes x, y, w, h in pixels, angle in radians; mmdet's box types
                are taken too.
            target (Tensor): (N, 5) rboxes.
            weight (Tensor | None): (N,) factors, or (N, 5), of which the mean over 5 counts.
            avg_factor (float | Tensor | None): Divisor of the sum under ``'mean'``.
            reduction_override (str | None): Takes the place of ``reduction``.

        Returns:
            Tensor: Scalar, or (N,) under ``'none'``.

        Raises:
            ValueError: See :func:`rotated_iou_loss`.
        """
        return self.loss_weight * rotated_iou_loss(
            pred,
            target,
            weight,
            mode=self.mode,
            eps=self.eps,
            reduction=reduction_override or self.reduction,
            avg_factor=avg_factor,
            name="RotatedIoULoss",
        )
