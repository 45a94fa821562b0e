"""mmrotate's ``GDLoss`` with the same arguments, over our distances."""

from typing import Any, Literal

import torch
from torch import Tensor

from mmext.registry import MODELS

from .box_checks import as_box_pair, check_rows, row_weights
from .gaussian_losses import Fun, GaussianDistanceLoss, Reduction
from .pearson import stddev_pearson_to_rbox

LossType = Literal["gwd", "kld", "jd", "kld_symmax", "kld_symmin"]
Representation = Literal["xy_wh_r", "xy_stddev_pearson"]

# mmrotate's names, and ours.
_KINDS = dict(gwd="gwd", kld="kld", jd="jeffreys", kld_symmax="kld_max", kld_symmin="kld_min")


@MODELS.register_module()
class GDLoss(GaussianDistanceLoss):
    """Takes the place of mmrotate's ``GDLoss``: write ``type='mmext.GDLoss'``, leave the rest.

    Arguments, their defaults and the losses of ordinary boxes are mmrotate's. Different are: thin,
    tiny, distant and equal boxes, whose losses are the true ones here (mmrotate clamps distances at
    1e-7 px² and sides at 1e-7 px, and its determinants cancel); rows of weight 0, which can hold
    anything; predictions without extent, whose gradient is not cut off; half precision and
    autocast, which work; undecoded boxes and unknown arguments, which are refused.

    The distances D are, before ``fun``:

    ============== ======================================================
    loss_type      D
    ============== ======================================================
    gwd            W2, divided by ``(wp hp wt ht)^(1/4)`` if ``normalize``
    kld            KL(target || pred), its root if ``sqrt``
    jd             (KL(target || pred) + KL(pred || target)) / 2, its root if ``sqrt``
    kld_symmax     the larger of the two, its root if ``sqrt``
    kld_symmin     the smaller of the two, its root if ``sqrt``
    ============== ======================================================

    Args:
        loss_type (str): One of the above.
        representation (str): ``'xy_wh_r'`` for boxes (horizontal ones x1, y1, x2, y2 are taken
            too), or ``'xy_stddev_pearson'`` for (N, 5) x, y, two standard deviations and their
            correlation.
        fun (str): ``'log1p'``, ``'sqrt'`` or ``'none'``, f of the distance.
        tau (float): From 1 on the loss is ``1 - 1 / (tau + f(D))``, below it is ``f(D)``.
        alpha (float): W2's shape term is multiplied by its square, the divergences' centre term
            divided by it.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        loss_weight (float): Factor on the result.
        sqrt (bool | None): Of all types but gwd, True if not given.
        normalize (bool | None): Of gwd, True if not given.

    Raises:
        ValueError: A value is none of those, or does not go with ``loss_type``.
    """

    def __init__(
        self,
        loss_type: LossType,
        representation: Representation = "xy_wh_r",
        fun: Fun = "log1p",
        tau: float = 0.0,
        alpha: float = 1.0,
        reduction: Reduction = "mean",
        loss_weight: float = 1.0,
        *,
        sqrt: bool | None = None,
        normalize: bool | None = None,
    ) -> None:
        if loss_type not in _KINDS:
            raise ValueError(
                f"GDLoss: loss_type must be one of {', '.join(_KINDS)}, got {loss_type!r}."
            )
        if representation not in ("xy_wh_r", "xy_stddev_pearson"):
            raise ValueError(
                "GDLoss: representation must be 'xy_wh_r' or 'xy_stddev_pearson', got "
                f"{representation!r}."
            )
        gwd = loss_type == "gwd"
        if (sqrt if gwd else normalize) is not None:
            raise ValueError(
                f"GDLoss: {'sqrt' if gwd else 'normalize'} is no option of "
                f"loss_type={loss_type!r}; that is {'normalize' if gwd else 'sqrt'}."
            )
        super().__init__(
            kind=_KINDS[loss_type],
            fun=fun,
            tau=tau if tau >= 1 else 0.0,
            sqrt=gwd or sqrt is not False,
            scale=0.5 if loss_type == "jd" else 1.0,
            alpha=alpha,
            normalize=gwd and normalize is not False,
            reduction=reduction,
            loss_weight=loss_weight,
        )
        self.representation = representation

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return the weighted loss, see :meth:`GaussianDistanceLoss.forward` for the arguments."""
        if self.representation == "xy_wh_r":
            return super().forward(pred, target, weight, *args, **kwargs)
        pred, target = as_box_pair(pred, target, "GDLoss")
        if pred.shape[1] != 5:
            raise ValueError(
                "GDLoss: representation='xy_stddev_pearson' takes (N, 5) Gaussians, got "
                f"{tuple(pred.shape)}."
            )
        if weight is not None:
            weight = row_weights(weight, pred, "GDLoss")
        if not torch.compiler.is_compiling():
            check_rows(pred, target, weight, "GDLoss", angles=False)
        boxes = (_as_rboxes(gaussians, weight) for gaussians in (pred, target))
        return super().forward(*boxes, weight, *args, **kwargs).to(pred.dtype)


def _as_rboxes(gaussians: Tensor, weight: Tensor | None) -> Tensor:
    """Turn the Gaussians that count into boxes."""
    if weight is not None:
        # The others can hold anything, whose derivatives would not be finite.
        harmless = gaussians.new_tensor([0, 0, 1, 1, 0])
        gaussians = torch.where((weight != 0)[:, None], gaussians, harmless)
    return stddev_pearson_to_rbox(gaussians)
