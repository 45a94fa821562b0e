"""Regression losses that compare boxes as Gaussians: GWD, KLD and their relatives."""

from typing import Literal, get_args

import torch
from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor, nn

from mmext.ops import gaussian_distance
from mmext.ops.gaussian_distance import Fun, Kind
from mmext.registry import MODELS

from .box_checks import as_box_pair, check_rows, raise_sides, row_weights

Reduction = Literal["none", "mean", "sum"]


def gaussian_distance_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    kind: Kind,
    fun: Fun = "log1p",
    tau: float = 1.0,
    sqrt: bool = False,
    scale: float = 1.0,
    alpha: float = 1.0,
    normalize: bool = False,
    reduction: Reduction = "mean",
    avg_factor: float | Tensor | None = None,
    name: str = "gaussian_distance_loss",
) -> Tensor:
    """Distance of the Gaussians of two lists of boxes, as a loss.

    A box is the Gaussian with its centre as mean and half its sides as standard deviations along
    them, so the angle convention (oc, le90, le135) does not matter, turning by pi changes nothing,
    and a square has no angle. With D the distance of :func:`mmext.ops.gaussian_distance`, or its
    root, the loss of a row is ``f(D)`` for ``tau=0`` and ``1 - 1 / (tau + f(D))`` for
    ``tau >= 1``, whose least value is ``1 - 1 / tau``.

    Computed in float32 at least, whatever the boxes are in and autocast says. Rows of weight 0
    count for nothing and get a gradient of exactly 0, whatever they hold; without any other row,
    and without any row at all, the loss is 0 with a graph. Predicted sides of zero or less are
    raised (:func:`mmext.rotated.box_checks.raise_sides`).

    Args:
        pred (Tensor): (N, 5) boxes x, y, w, h in pixels (or any other unit of length), angle in
            radians; or (N, 4) horizontal boxes x1, y1, x2, y2. mmdet's box types are taken too.
        target (Tensor): Boxes of the same shape.
        weight (Tensor | None): (N,) factors, or (N, D), of which the mean over D counts.
        kind (str): Name of the distance, see :func:`mmext.ops.gaussian_distance`.
        fun (str): f, of ``'none'``, ``'log1p'``, ``'sqrt'`` and ``'hellinger'``; for
            ``kind='kfiou'`` of ``'one_minus'``, ``'neg_log'`` and ``'expm1'``, with ``tau=0``.
        tau (float): 0, or from 1 on.
        sqrt (bool): Take the root of the distance before f.
        scale (float): Multiplies the distance before that.
        alpha (float): How much the shape counts against the centre: GWD's shape term is multiplied
            by its square, KLD's centre term divided by it.
        normalize (bool): Make GWD free of scale: W2 is divided by the geometric mean of the four
            sides, ``(wp hp wt ht)^(1/4)``, W2 squared by its square.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor (float | Tensor | None): Divisor of the sum under ``'mean'``, N if not given.
        name (str): What messages call the loss.

    Returns:
        Tensor: Scalar, or (N,) with ``reduction='none'``.

    Raises:
        ValueError: Shapes do not fit, or a row that counts holds what no detector can have meant
            (:func:`mmext.rotated.box_checks.check_rows`).
    """
    pred, target = as_box_pair(pred, target, name)
    if weight is not None:
        weight = row_weights(weight, pred, name)
    # A decision about values would break the graph that torch.compile makes.
    if torch.compiler.is_compiling() or check_rows(pred, target, weight, name):
        pred = raise_sides(pred, target)
    loss = gaussian_distance(
        pred,
        target,
        kind,
        weight=weight,
        alpha=alpha,
        normalize=normalize,
        scale=scale,
        sqrt=sqrt,
        fun=fun,
        tau=tau,
    )
    return reduce_rows(loss, reduction, avg_factor)


def gwd_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    fun: Fun = "sqrt",
    tau: float = 2.0,
    alpha: float = 1.0,
    normalize: bool = False,
    reduction: Reduction = "mean",
    avg_factor: float | Tensor | None = None,
    name: str = "gwd_loss",
) -> Tensor:
    """Gaussian Wasserstein distance loss, ``1 - 1 / (tau + f(W2^2))``.

    GWD (Yang et al., ICML 2021), section 3.3, with the f and tau of its best results, which the
    official code (AlphaRotate, TensorFlow) uses on DOTA. That code adds 1e-3 px^2 to the distance;
    here nothing is added. W2 squared is in square pixels, so the same relative error costs a large
    box more than a small one; ``normalize=True`` ends that. (mmrotate's ``GDLoss``, and
    :class:`GDLoss` here, take f of the root of it.)

    Args:
        pred (Tensor): (N, 5) or (N, 4) boxes, see :func:`gaussian_distance_loss`.
        target (Tensor): Boxes of the same shape.
        weight (Tensor | None): (N,) or (N, D) factors.
        fun (str): f, of ``'none'``, ``'log1p'`` and ``'sqrt'``.
        tau (float): 0, or from 1 on.
        alpha (float): The shape term is multiplied by its square.
        normalize (bool): Make the distance free of scale.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor (float | Tensor | None): Divisor of the sum under ``'mean'``.
        name (str): What messages call the loss.

    Returns:
        Tensor: Scalar, or (N,) with ``reduction='none'``.

    Raises:
        ValueError: See :func:`gaussian_distance_loss`.
    """
    return gaussian_distance_loss(
        pred,
        target,
        weight,
        kind="gwd",
        fun=fun,
        tau=tau,
        alpha=alpha,
        normalize=normalize,
        reduction=reduction,
        avg_factor=avg_factor,
        name=name,
    )


def kld_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    fun: Fun = "log1p",
    tau: float = 1.0,
    sqrt: bool = False,
    alpha: float = 1.0,
    reduction: Reduction = "mean",
    avg_factor: float | Tensor | None = None,
    name: str = "kld_loss",
) -> Tensor:
    """Kullback-Leibler divergence loss, ``1 - 1 / (tau + f(KL(target || pred)))``.

    KLD (Yang et al., NeurIPS 2021), section 3. Free of scale, and the angle counts the more the
    longer a box is for its width. Default direction, f and tau are those of mmrotate's
    ``kld-stable`` configs and of the official code (AlphaRotate, TensorFlow) on DOTA-v1.5 and
    DIOR-R, which also multiplies the loss by 0.05; on DOTA-v1.0 it has ``fun='sqrt', tau=2``. The
    divergence is the textbook's, with its factor 1/2.

    Args:
        pred (Tensor): (N, 5) or (N, 4) boxes, see :func:`gaussian_distance_loss`.
        target (Tensor): Boxes of the same shape.
        weight (Tensor | None): (N,) or (N, D) factors.
        fun (str): f, of ``'none'``, ``'log1p'`` and ``'sqrt'``.
        tau (float): 0, or from 1 on.
        sqrt (bool): Take the root of the divergence before f.
        alpha (float): The term of the centre is divided by its square.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor (float | Tensor | None): Divisor of the sum under ``'mean'``.
        name (str): What messages call the loss.

    Returns:
        Tensor: Scalar, or (N,) with ``reduction='none'``.

    Raises:
        ValueError: See :func:`gaussian_distance_loss`.
    """
    return gaussian_distance_loss(
        pred,
        target,
        weight,
        kind="kld",
        fun=fun,
        tau=tau,
        sqrt=sqrt,
        alpha=alpha,
        reduction=reduction,
        avg_factor=avg_factor,
        name=name,
    )


def reduce_rows(loss: Tensor, reduction: Reduction, avg_factor: float | Tensor | None) -> Tensor:
    """Reduce losses as mmdet does, except that the mean of no rows is 0.

    Args:
        loss: (N,) weighted losses.
        reduction: ``'none'``, ``'mean'`` or ``'sum'``.
        avg_factor: Divisor of the sum under ``'mean'``, N if not given.

    Returns:
        Scalar, or (N,) with ``reduction='none'``.
    """
    if reduction == "mean" and avg_factor is None and loss.shape[0] == 0:
        return loss.sum()
    return weight_reduce_loss(loss, None, reduction, avg_factor)


@MODELS.register_module()
class GaussianDistanceLoss(nn.Module):
    """Module form of :func:`gaussian_distance_loss`, for every kind of distance.

    Takes the place of any box loss of mmdet and mmrotate that is given decoded boxes: RetinaNet,
    the R-CNNs, R3Det and S2ANet need ``reg_decoded_bbox=True`` for that, FCOS, ATSS and RTMDet
    decode by themselves.

    Args:
        kind (str): Name of the distance, see :func:`mmext.ops.gaussian_distance`.
        fun (str): f, of ``'none'``, ``'log1p'``, ``'sqrt'`` and ``'hellinger'``; for
            ``kind='kfiou'`` of ``'one_minus'``, ``'neg_log'`` and ``'expm1'``, with ``tau=0``.
        tau (float): 0 for ``f(D)``, from 1 on for ``1 - 1 / (tau + f(D))``.
        sqrt (bool): Take the root of the distance before f.
        scale (float): Multiplies the distance before that.
        alpha (float): How much the shape counts against the centre (GWD, KLD).
        normalize (bool): Make GWD free of scale.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        loss_weight (float): Factor on the result.

    Raises:
        ValueError: A value is none of those, or does not go with the kind.
    """

    def __init__(
        self,
        *,
        kind: Kind,
        fun: Fun = "log1p",
        tau: float = 1.0,
        sqrt: bool = False,
        scale: float = 1.0,
        alpha: float = 1.0,
        normalize: bool = False,
        reduction: Reduction = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.options = dict(
            kind=kind,
            fun=fun,
            tau=tau,
            sqrt=sqrt,
            scale=scale,
            alpha=alpha,
            normalize=normalize,
        )
        self.reduction = reduction
        self.loss_weight = loss_weight
        # Options that do not fit are refused here, not at the first step.
        nothing = torch.zeros(0, 5)
        gaussian_distance(nothing, nothing, **self.options)
        if kind == "kfiou" and fun == "none":
            raise ValueError("kfiou is a similarity: fun must be one_minus, neg_log or expm1.")
        if reduction not in get_args(Reduction):
            raise ValueError(f"reduction must be none, mean or sum, got {reduction!r}.")

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
            pred (Tensor): (N, 5) boxes x, y, w, h, angle in radians, or (N, 4) boxes x1, y1, x2,
                y2; mmdet's box types are taken too.
            target (Tensor): Boxes of the same shape.
            weight (Tensor | None): (N,) factors, or (N, D), of which the mean over D counts.
            avg_factor (float | Tensor | None): Divisor of the sum under ``'mean'``.
            reduction_override (str | None): Takes the place of ``reduction``.

        Returns:
            Tensor: Scalar, or (N,) under ``'none'``.

        Raises:
            ValueError: See :func:`gaussian_distance_loss`.
        """
        return self.loss_weight * gaussian_distance_loss(
            pred,
            target,
            weight,
            reduction=reduction_override or self.reduction,
            avg_factor=avg_factor,
            name=type(self).__name__,
            **self.options,
        )


@MODELS.register_module()
class GWDLoss(GaussianDistanceLoss):
    """Module form of :func:`gwd_loss`, the loss of GWD (Yang et al., ICML 2021).

    Args:
        fun (str): f, of ``'none'``, ``'log1p'`` and ``'sqrt'``.
        tau (float): 0 for ``f(W2^2)``, from 1 on for ``1 - 1 / (tau + f(W2^2))``.
        alpha (float): The shape term is multiplied by its square.
        normalize (bool): Make the distance free of scale.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        loss_weight (float): Factor on the result.
    """

    def __init__(
        self,
        *,
        fun: Fun = "sqrt",
        tau: float = 2.0,
        alpha: float = 1.0,
        normalize: bool = False,
        reduction: Reduction = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(
            kind="gwd",
            fun=fun,
            tau=tau,
            alpha=alpha,
            normalize=normalize,
            reduction=reduction,
            loss_weight=loss_weight,
        )


@MODELS.register_module()
class KLDLoss(GaussianDistanceLoss):
    """Module form of :func:`kld_loss`, the loss of KLD (Yang et al., NeurIPS 2021).

    Args:
        fun (str): f, of ``'none'``, ``'log1p'`` and ``'sqrt'``.
        tau (float): 0 for ``f(KL)``, from 1 on for ``1 - 1 / (tau + f(KL))``.
        sqrt (bool): Take the root of the divergence before f.
        alpha (float): The term of the centre is divided by its square.
        reduction (str): ``'none'``, ``'mean'`` or ``'sum'``.
        loss_weight (float): Factor on the result.
    """

    def __init__(
        self,
        *,
        fun: Fun = "log1p",
        tau: float = 1.0,
        sqrt: bool = False,
        alpha: float = 1.0,
        reduction: Reduction = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(
            kind="kld",
            fun=fun,
            tau=tau,
            sqrt=sqrt,
            alpha=alpha,
            reduction=reduction,
            loss_weight=loss_weight,
        )
