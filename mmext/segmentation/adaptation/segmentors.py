"""Reaching into any of mmseg's segmentors: its losses together with its logits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional


def supervised_losses(
    segmentor: BaseSegmentor, inputs: Tensor, samples: Sequence[SegDataSample]
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the segmentor's own losses, and the logits that they were computed from.

    One pass through the network gives both: heads of mmseg compute logits inside of ``loss`` and
    hand out losses only.

    Args:
        segmentor: Any segmentor with a decode head that computes its losses from logits.
        inputs: (B, 3, H, W) preprocessed images.
        samples: With ``gt_sem_seg``.

    Returns:
        The losses by name, and (B, C, h, w) logits of the (last) decode head.

    Raises:
        ValueError: An image has no labels.
        TypeError: The decode head has no logits.
    """
    for sample in samples:
        if "gt_sem_seg" not in sample:
            raise ValueError(
                f"{sample.get('img_path', 'an image')} of a source has no labels to learn from. "
                "Expected mmext.LoadLabelIds in the pipeline of the source, and "
                "data_prefix.seg_map_path in its data set."
            )
    with _kept_logits(segmentor) as kept:
        losses = segmentor.loss(inputs, list(samples))
    return losses, _require_logits(kept[-1] if kept else None, segmentor)


def raw_logits(segmentor: BaseSegmentor, inputs: Tensor) -> Tensor:
    """Return the logits of the (last) decode head.

    Args:
        segmentor: As for :func:`supervised_losses`.
        inputs: (B, 3, H, W) preprocessed images.

    Returns:
        (B, C, h, w), at the network's own stride.

    Raises:
        TypeError: The decode head has no logits.
    """
    return _require_logits(segmentor(inputs, mode="tensor"), segmentor)


def enlarged_logits(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """Return logits in the size of the images.

    Args:
        logits: (B, C, h, w).
        size: (H, W) of the images.
        align_corners: As the decode head has it.

    Returns:
        (B, C, H, W), float32.
    """
    return functional.interpolate(
        logits.float(), size=tuple(size), mode="bilinear", align_corners=align_corners
    )


def probability_maps(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """Return what a discriminator in the output space looks at.

    Args:
        logits: (B, C, h, w).
        size: (H, W) of the images.
        align_corners: As the decode head has it.

    Returns:
        (B, C, H, W) softmax of the enlarged logits, float32.

    Source: AdaptSegNet (Tsai et al., CVPR 2018) and BDL: enlarged to the size of the input image.
    """
    return enlarged_logits(logits, size, align_corners).softmax(dim=1)


@contextmanager
def weighted_pixels(segmentor: BaseSegmentor, weights: Tensor) -> Iterator[None]:
    """Weigh the pixels in the segmentor's own losses while the block runs.

    Args:
        segmentor: As for :func:`supervised_losses`.
        weights: (B, H, W), one for each pixel of the labels.

    Raises:
        TypeError: A head computes its losses without weights.
    """
    heads = _heads(segmentor)
    samplers = [(head, getattr(head, "sampler", None), _GivenWeights(weights)) for head in heads]
    for head, _, given in samplers:
        head.sampler = given
    try:
        yield
    finally:
        for head, original, _ in samplers:
            head.sampler = original
    unasked = [type(head).__name__ for head, _, given in samplers if not given.asked]
    if unasked:
        raise TypeError(
            f"the decode head {unasked[0]} does not weigh pixels in its losses. Expected one that "
            "takes the loss_by_feat of mmseg's BaseDecodeHead, such as FCNHead or SegformerHead."
        )


class _GivenWeights:
    """In the place of a head's pixel sampler, the only way to hand weights to its losses."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self.asked = False

    def sample(self, seg_logit: Tensor, seg_label: Tensor) -> Tensor:
        """Return the weights."""
        self.asked = True
        return self.weights


def _heads(segmentor: BaseSegmentor) -> list[nn.Module]:
    """Return all heads that compute losses."""
    found = [segmentor.decode_head]
    if segmentor.with_auxiliary_head:
        found.append(segmentor.auxiliary_head)
    return [
        head for part in found for head in (part if isinstance(part, nn.ModuleList) else [part])
    ]


@contextmanager
def computed_once(module: nn.Module) -> Iterator[None]:
    """Let a module, within the block, compute its output for an input once and then repeat it.

    Args:
        module: Such as a backbone that several segmentors have in common.
    """
    original, known = module.forward, []

    def forward(inputs: Tensor) -> Any:
        for seen, output in known:
            if seen is inputs:
                return output
        known.append((inputs, original(inputs)))
        return known[-1][1]

    module.forward = forward
    try:
        yield
    finally:
        del module.forward


@contextmanager
def _kept_logits(segmentor: BaseSegmentor) -> Iterator[list[Any]]:
    """Keep what the decode head hands to its ``loss_by_feat`` while the block runs."""
    head = segmentor.decode_head
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    original, kept = getattr(head, "loss_by_feat", None), []
    if original is None:
        yield kept
        return

    def loss_by_feat(seg_logits: Any, *args: Any, **kwargs: Any) -> Any:
        kept.append(seg_logits)
        return original(seg_logits, *args, **kwargs)

    # An attribute of the instance hides the method; the heads have no hook for this.
    head.loss_by_feat = loss_by_feat
    try:
        yield kept
    finally:
        del head.loss_by_feat


def _require_logits(found: Any, segmentor: BaseSegmentor) -> Tensor:
    """Return the logits among what a decode head computes; some heads have more."""
    if isinstance(found, tuple | list) and found:
        found = found[0]
    if not isinstance(found, Tensor) or found.dim() != 4:
        raise TypeError(
            f"the decode head {type(segmentor.decode_head).__name__} computes no map of logits. "
            "Adaptation in the output space needs a head that does (subclasses of mmseg's "
            "BaseDecodeHead, such as FCNHead, ASPPHead, SegformerHead)."
        )
    return found
