"""Losses between models that look at the same image, and of a model's doubt about it."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


def pixel_kl(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float = 1.0,
    ignore: Tensor | None = None,
) -> Tensor:
    """Return how far a student's classes of the pixels are from those of a teacher.

    ``KL(p || q) = sum_c p log(p / q)``: summed over the classes, a mean over images and pixels.
    (``reduction='mean'`` of torch's ``kl_div`` and mmseg's ``KLDivLoss`` divide by the number of
    classes, too.) The teacher is detached in here: only the student learns. The loss of a symmetric
    agreement is the sum of two calls.

    Args:
        teacher_logits: (B, C, H, W), whose softmax over C is p.
        student_logits: (B, C, H, W), whose softmax over C is q.
        temperature: Divides both logits; the loss is multiplied by its square, so that gradients
            keep their size.
        ignore: (B, H, W) bool, true where a pixel does not count, such as in padding.

    Returns:
        A scalar in float32 (float64 for float64), 0 if no pixel counts.

    Raises:
        ValueError: The shapes do not fit, or the temperature is not positive.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531),
    section 2.1, pixel by pixel.
    """
    if teacher_logits.shape != student_logits.shape or student_logits.dim() != 4:
        raise ValueError(
            f"logits of the teacher are {tuple(teacher_logits.shape)}, of the student "
            f"{tuple(student_logits.shape)}. Expected the same (B, C, H, W): give both models the "
            "same image, and heads of the same stride."
        )
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}. Expected a positive number.")
    log_p = (_precise(teacher_logits).detach() / temperature).log_softmax(1)
    log_q = (_precise(student_logits) / temperature).log_softmax(1)
    divergence = functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
    return temperature**2 * _mean_of_pixels(divergence, ignore)


def entropy_loss(logits: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Return how undecided a model is, between 0 (certain) and 1 (all classes alike).

    ``-sum_c p log p / log C``, a mean over images and pixels.

    Args:
        logits: (B, C, H, W) with C of at least 2.
        ignore: (B, H, W) bool, true where a pixel does not count.

    Returns:
        A scalar in float32 (float64 for float64), 0 if no pixel counts.

    Raises:
        ValueError: There is one class only, or the shapes do not fit.

    Source: ADVENT (arXiv 1811.12833), equations 2 and 3, as a mean instead of a sum over pixels.
    """
    if logits.dim() != 4 or logits.shape[1] < 2:
        raise ValueError(f"logits are {tuple(logits.shape)}. Expected (B, C, H, W) with C > 1.")
    log_p = _precise(logits).log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1) / math.log(logits.shape[1])
    return _mean_of_pixels(entropy, ignore)


def parameter_distance(
    model_a: nn.Module,
    model_b: nn.Module,
    p: Literal[1, 2] = 2,
    detach: Literal["a", "b"] | None = None,
) -> Tensor:
    """Return how far the parameters of two models of the same architecture are apart.

    ``mean |a - b| ** p`` over all numbers in all parameters; buffers do not count.

    Args:
        model_a: A model.
        model_b: Another one.
        p: 1 or 2.
        detach: ``'a'`` or ``'b'``: which model does not learn from it. None: both do.

    Returns:
        A scalar.

    Raises:
        ValueError: The models have other parameters, or an option is none of the above.
    """
    if p not in (1, 2) or detach not in ("a", "b", None):
        raise ValueError(f"p is {p!r} and detach {detach!r}. Expected 1 or 2; 'a', 'b' or None.")
    shapes_a, shapes_b = (
        {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        for model in (model_a, model_b)
    )
    if shapes_a != shapes_b:
        wrong = sorted(dict(shapes_a.items() ^ shapes_b.items()))
        raise ValueError(
            f"{len(wrong)} parameters are in one of the models only, or in another shape, such as "
            f"{', '.join(wrong[:3])}. Expected models of the same architecture."
        )
    a, b = (
        torch.cat([parameter.flatten() for parameter in model.parameters()])
        for model in (model_a, model_b)
    )
    difference = (a.detach() if detach == "a" else a) - (b.detach() if detach == "b" else b)
    return difference.abs().mean() if p == 1 else difference.square().mean()


def _precise(logits: Tensor) -> Tensor:
    """Return logits in float32 or, as they are, in float64."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _mean_of_pixels(values: Tensor, ignore: Tensor | None) -> Tensor:
    """Return the mean of (B, H, W) values over the pixels that count."""
    if ignore is None:
        return values.mean()
    if ignore.shape != values.shape or ignore.dtype != torch.bool:
        raise ValueError(
            f"ignore is {ignore.dtype} {tuple(ignore.shape)}. Expected bool {tuple(values.shape)}, "
            "a value per pixel of the logits."
        )
    counted = (~ignore).sum().clamp(min=1)
    return values.masked_fill(ignore, 0).sum() / counted
