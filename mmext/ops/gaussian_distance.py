"""Distances between boxes seen as 2-D Gaussians: GWD, KLD and their relatives, fused."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from . import _extension
from .gaussian_distance_reference import gaussian_distance_reference

Kind = Literal[
    "gwd",
    "kld",
    "kld_pt",
    "kld_min",
    "kld_max",
    "jeffreys",
    "js",
    "bcd",
    "probiou",
    "kfiou",
]
Fun = Literal["none", "log1p", "sqrt", "hellinger", "one_minus", "neg_log", "expm1"]

KINDS: tuple[str, ...] = get_args(Kind)
_KINDS_WITH_ALPHA = ("gwd", "kld", "kld_pt", "kld_min", "kld_max", "jeffreys")
_FUNS = {False: ("none", "log1p", "sqrt", "hellinger"), True: get_args(Fun)[-3:]}


def gaussian_distance(
    pred: Tensor,
    target: Tensor,
    kind: Kind = "kld",
    *,
    weight: Tensor | None = None,
    alpha: float = 1.0,
    normalize: bool = False,
    scale: float = 1.0,
    sqrt: bool = False,
    fun: Fun = "none",
    tau: float = 0.0,
) -> Tensor:
    r"""Compute the distance of each predicted box to its target as Gaussians, and a loss of it.

    A box ``x, y, w, h, angle`` becomes the Gaussian with mean ``(x, y)`` and covariance
    ``R diag(w^2 / 4, h^2 / 4) R^T`` (GWD, Yang et al., 2021, eq. 2). It is the same for the angle
    conventions le90, le135 and oc, which may be mixed. Of these p (pred) and t (target) are made:

    ========= ================================================================================
    kind      D
    ========= ================================================================================
    gwd       squared Wasserstein distance ``W2^2`` in px^2 (GWD, eq. 3); its centre part plus
              ``alpha^2`` times its shape part
    kld       ``KL(t || p)`` (KLD, Yang et al., 2021, eq. 4 with the roles as in mmrotate's GDLoss);
              its centre part divided by ``alpha^2``
    kld_pt    ``KL(p || t)``, ``alpha`` likewise
    kld_min   the smaller of the two
    kld_max   the larger of the two
    jeffreys  the sum of the two (mmrotate's ``jd`` is half of it: ``scale=0.5``)
    js        ``KL(p || m) + KL(t || m)``, m the Gaussian of mean mean and mean covariance, as in
              AlphaRotate; it is twice ``bcd``
    bcd       Bhattacharyya distance
    probiou   the same for covariances ``w^2 / 12, h^2 / 12`` (ProbIoU, Llerena et al., 2021)
    kfiou     the overlap of KFIoU (Yang et al., 2022), at most 1/3: a similarity
    ========= ================================================================================

    From D the result is made in this order: ``normalize`` divides (gwd only) by
    ``sqrt(wp hp wt ht)``, ``scale`` multiplies, ``sqrt`` takes the root, then f is applied, then
    for ``tau >= 1`` the result is ``1 - 1 / (tau + f)``, computed as ``(tau - 1 + f) / (tau + f)``;
    last, ``weight`` multiplies. f is, for distances, ``none``, ``log1p``, ``sqrt`` or
    ``hellinger``: ``sqrt(1 - exp(-D))``, which of ``probiou`` is its L1 loss; and for ``kfiou``
    ``none``, ``one_minus``: ``1 - K``, ``neg_log``: ``-ln K`` or ``expm1``: ``exp(1 - K) - 1``.

    Forms are used that lose no digits for thin, tiny, distant or nearly equal boxes; float32 is
    good to about 2e-6. The gradient of a root of a distance of exactly 0, where it has none, is 0.
    For ``kld_max`` and ``kld_min`` equal divergences give the gradient of ``kld_pt`` and ``kld``.

    Sides are raised to ``2**-40`` of the largest length of their pair (the six sides and offsets),
    and to ``2**-40``, so a side of 0 has a finite loss. The gradient passes as if they had been
    that long. Sides from 1e-6 to 1e6 px are not affected. A negative or NaN side in a row whose
    weight is not 0 is an error on CPU, where the kernel finds it on its way; on CUDA, and when the
    pure-torch reference is compiled, the loss of its row is NaN.

    Rows of weight 0 are skipped: their result and their gradient are 0 whatever they hold.

    Half and bfloat16 boxes are computed and returned in float32. Autocast never lowers anything;
    under it dtypes may differ. No gradient is computed for a tensor that needs none. On CPU it is
    computed along with the result and kept, on CUDA nothing but the inputs is. Second derivatives
    come from the pure-torch reference.

    Args:
        pred: (N, 5) rotated boxes: x, y, w, h in pixels, angle in radians; or (N, 4) horizontal
            boxes: x1, y1, x2, y2 in pixels.
        target: Boxes of the same shape, dtype and device.
        kind: The distance.
        weight: (N,) factors without gradient, of the same dtype and device; None for ones.
        alpha: The balance of centre and shape; 1 for kinds that have none.
        normalize: Make gwd independent of the scale of the boxes.
        scale: Multiplies D.
        sqrt: Take the root of D before f.
        fun: f.
        tau: 0 or at least 1.

    Returns:
        (N,), float64 for float64 boxes and float32 otherwise.

    Raises:
        ValueError: An argument does not fit the others, or (CPU) a box with a weight other than 0
            has a negative side or an entry that is not finite.
    """
    _check(pred, target, weight)
    _check_options(kind, alpha, normalize, scale, sqrt, fun, tau)
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    pred, target = pred.to(dtype), target.to(dtype)
    if weight is not None:
        weight = weight.to(dtype)
    settings = (kind, float(alpha), normalize, float(scale), sqrt, fun, float(tau))
    if _extension.LOADED:
        return torch.ops.mmext.gaussian_distance(pred, target, weight, *settings)
    if pred.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_boxes(pred, target, weight)
    return gaussian_distance_reference(pred, target, weight, *settings)


def _check(pred: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """Raise a ValueError that names the tensor which does not fit."""
    if pred.dim() != 2 or pred.shape[1] not in (4, 5):
        raise ValueError(
            "gaussian_distance: pred must be (N, 5) rotated boxes (x, y, w, h, angle) or (N, 4) "
            f"horizontal ones (x1, y1, x2, y2), got {tuple(pred.shape)}."
        )
    others = {"target": (target, tuple(pred.shape))}
    if weight is not None:
        others["weight"] = (weight, (pred.shape[0],))
        if weight.requires_grad:
            raise ValueError("gaussian_distance: weight has no gradient here; detach it.")
    if not pred.is_floating_point():
        raise ValueError(f"gaussian_distance: pred must be floating point, got {pred.dtype}.")
    autocast = torch.is_autocast_enabled(pred.device.type)
    for name, (tensor, shape) in others.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"gaussian_distance: {name} must be {shape} to fit pred {tuple(pred.shape)}, got "
                f"{tuple(tensor.shape)}."
            )
        if tensor.device != pred.device:
            raise ValueError(
                f"gaussian_distance: {name} is on {tensor.device}, pred on {pred.device}; move "
                "them together."
            )
        if tensor.dtype != pred.dtype and not (autocast and tensor.is_floating_point()):
            raise ValueError(
                f"gaussian_distance: {name} is {tensor.dtype}, pred {pred.dtype}; cast them to one "
                "dtype or run under torch.autocast."
            )


def _check_options(
    kind: str, alpha: float, normalize: bool, scale: float, sqrt: bool, fun: str, tau: float
) -> None:
    """Raise a ValueError that names the option which does not fit."""
    if kind not in KINDS:
        raise ValueError(
            f"gaussian_distance: kind must be one of {', '.join(KINDS)}, got {kind!r}."
        )
    similarity = kind == "kfiou"
    funs = ("none", *_FUNS[True]) if similarity else _FUNS[False]
    if fun not in funs:
        raise ValueError(
            f"gaussian_distance: fun must be one of {', '.join(funs)} for {kind}, got {fun!r}."
        )
    if tau != 0 and not tau >= 1:
        raise ValueError(f"gaussian_distance: tau must be 0 or at least 1, got {tau}.")
    for name, value in (("alpha", alpha), ("scale", scale)):
        if not 0 < value < float("inf"):
            raise ValueError(f"gaussian_distance: {name} must be positive, got {value}.")
    if alpha != 1 and kind not in _KINDS_WITH_ALPHA:
        raise ValueError(
            f"gaussian_distance: alpha={alpha} has no meaning for {kind}, only for "
            f"{', '.join(_KINDS_WITH_ALPHA)}."
        )
    if normalize and kind != "gwd":
        raise ValueError(f"gaussian_distance: normalize is for gwd; {kind} has no scale.")
    if similarity and (sqrt or tau or scale != 1):
        raise ValueError(
            "gaussian_distance: sqrt, scale and tau are for distances; kfiou is a similarity."
        )


def _check_boxes(pred: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """Raise the ValueError of the CPU kernel for boxes that cannot be measured."""
    bad = torch.zeros(pred.shape[0], dtype=torch.bool)
    for boxes in (pred.detach(), target.detach()):
        sides = boxes[:, 2:] - boxes[:, :2] if boxes.shape[1] == 4 else boxes[:, 2:4]
        bad |= ~boxes.isfinite().all(1) | (sides < 0).any(1)
    if weight is not None:
        bad &= weight != 0
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"gaussian_distance: pred[{row}] or target[{row}] has a negative side or an entry that "
            "is not finite. Boxes must be decoded, in pixels: set reg_decoded_bbox=True in a head "
            "that predicts deltas."
        )


def _fake_forward(pred: Tensor, target: Tensor, weight: Tensor | None, *settings: Any) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    return pred.new_empty(pred.shape[0])


def _fake_with_gradients(
    pred: Tensor, target: Tensor, weight: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Tell torch.compile the shapes of the result and of the gradients that are asked for."""
    return pred.new_empty(pred.shape[0]), *_fake_gradients(pred, settings[-1])


def _fake_scale(grad: Tensor, rows: Tensor, weight: Tensor | None) -> Tensor:
    """Tell torch.compile the shape of a gradient."""
    return rows.new_empty(rows.shape)


def _fake_backward(
    grad: Tensor, pred: Tensor, target: Tensor, weight: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor]:
    """Tell torch.compile the shapes of the gradients."""
    return _fake_gradients(pred, settings[-1])


def _fake_gradients(pred: Tensor, asked: list[bool]) -> tuple[Tensor, Tensor]:
    """Return two empty tensors; one that is not asked for has no element."""
    of_pred, of_target = (pred.new_empty(pred.shape if ask else 0) for ask in asked)
    return of_pred, of_target


def _setup_backward_context(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    """Keep what the derivative of the backward op needs."""
    grad, pred, target, weight, *ctx.settings, ctx.output_mask = inputs
    ctx.save_for_backward(grad, pred, target, weight)


def _double_backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiate the gradient of the reference."""
    grad, pred, target, weight = ctx.saved_tensors
    with torch.enable_grad():
        grad, pred, target = (tensor.detach().requires_grad_() for tensor in (grad, pred, target))
        value = gaussian_distance_reference(pred, target, weight, *ctx.settings)
        of_boxes = torch.autograd.grad(value, (pred, target), grad, create_graph=True)
    asked = [
        pair
        for pair, mask in zip(zip(of_boxes, grads, strict=True), ctx.output_mask, strict=True)
        if mask
    ]
    outputs, cotangents = zip(*asked, strict=True)
    results = torch.autograd.grad(outputs, (grad, pred, target), cotangents, allow_unused=True)
    return *results, None, *[None] * len(ctx.settings), None


def _register() -> None:
    """Attach fake kernels and the second derivative to the ops of ``mmext._C``.

    The first derivative is in C++: in Python it costs more than ten thousand rows do.
    """
    backward = "mmext::_gaussian_distance_backward"
    torch.library.register_fake("mmext::gaussian_distance", _fake_forward)
    torch.library.register_fake("mmext::_gaussian_distance_with_gradients", _fake_with_gradients)
    torch.library.register_fake("mmext::_scale_gradient", _fake_scale)
    torch.library.register_fake(backward, _fake_backward)
    torch.library.register_autograd(
        backward, _double_backward, setup_context=_setup_backward_context
    )


if _extension.LOADED:
    _register()
