"""Adaptation on images mixed of source and target, with pseudo labels of a slow teacher."""

from collections.abc import Sequence
from functools import partial
from typing import Self

import torch
from mmengine.model import MomentumAnnealingEMA
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from mmext.registry import MODELS

from .mixing import StrongAugmentation, class_mask, mixed
from .parts import LossPart, PartwiseAdaptation
from .segmentors import enlarged_logits, raw_logits, supervised_losses, weighted_pixels
from .wrapper import split_domains

COLOURS_AND_BLUR = (dict(type="PhotoMetricDistortion"), dict(type="mmext.RandomGaussianBlur"))


@MODELS.register_module()
class ClassMixAdaptation(PartwiseAdaptation):
    """Self-training on mixed images, in the manner of DACS (Tranheden et al., WACV 2021).

    A teacher, the running mean of the segmentor's weights, labels the target. Half of the classes
    of a source image are pasted, with their labels, onto a target image with the teacher's labels;
    colours of the whole are changed, and the segmentor learns from it and from the source image.
    Pixels with a label of the teacher count as much as the share of its predictions in the batch
    that are more confident than ``threshold``.

    Each target is mixed with a random one of the sources, whose images must have the same size. A
    step has a pass through the segmentor for each source and each target, and one through the
    teacher, without gradients, for each target. Where there is no target, the source is learned.

    The teacher predicts as in tests: without dropout, and with BatchNorm's running statistics,
    which it takes from the segmentor. DACS runs its teacher in training mode.

    Args:
        segmentor: As for :class:`AdaptationModel`. Its heads should average their losses over the
            pixels that are not ignored: ``loss_decode=dict(type='CrossEntropyLoss',
            avg_non_ignore=True)``.
        momentum: Share of the new weights in the teacher's, at each update (DACS: 0.01, and
            1 / (n + 1) at the n-th update while that is more).
        threshold: Confidence of the teacher that counts (DACS: 0.968).
        strong_augmentation: Transforms of mmseg's or mmcv's that change the colours of the mixed
            image; empty for none.
        data_preprocessor: As for :class:`AdaptationModel`.
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: ``momentum`` or ``threshold`` are out of range.

    Source: DACS, algorithm 1 and its code. Its colour jitter is mmseg's ``PhotoMetricDistortion``
    here.
    """

    def __init__(
        self,
        *,
        segmentor: dict,
        momentum: float = 0.01,
        threshold: float = 0.968,
        strong_augmentation: Sequence[dict] = COLOURS_AND_BLUR,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            segmentor=segmentor, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        if not (0 < momentum < 1 and 0 <= threshold <= 1):
            raise ValueError(
                f"model.momentum is {momentum}, model.threshold {threshold}. Expected values "
                "between 0 and 1; the momentum is the share of the new weights."
            )
        self.teacher = MomentumAnnealingEMA(self.segmentor, momentum=momentum, gamma=1)
        self.teacher.eval()
        self.threshold = threshold
        self.strong_augmentation = StrongAugmentation(strong_augmentation)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the teacher, which always predicts as in tests."""
        super().train(mode)
        self.teacher.eval()
        return self

    def parts(
        self, inputs: dict[str, Tensor], samples: dict[str, Sequence[SegDataSample]]
    ) -> list[LossPart]:
        """Return the losses on the images of the sources, and on the mixed ones of the targets.

        ``trust`` of a target is logged, too: the weight of its pixels.

        Args:
            inputs: (B, 3, H, W) preprocessed images by domain.
            samples: By domain.
        """
        if self.teacher.steps == 0:
            self.teacher.update_parameters(self.segmentor)  # begins with the segmentor's weights
        sources, targets = split_domains(samples)
        found = [
            LossPart(
                name, 1 / len(sources), partial(self.labelled_losses, inputs[name], samples[name])
            )
            for name in sources
        ]
        for name in targets:
            source = _any(sources)
            pair = inputs[name], inputs[source], samples[source]
            found.append(LossPart(name, 1 / len(targets), partial(self.mixed_losses, name, *pair)))
        return found

    def after_step(self, *, updated: bool) -> None:
        """Let the teacher follow the weights."""
        if updated:
            self.teacher.update_parameters(self.segmentor)

    def mixed_losses(
        self, name: str, inputs: Tensor, pasted: Tensor, samples: Sequence[SegDataSample]
    ) -> dict[str, Tensor]:
        """Return the segmentor's losses on images of a target with parts of a source.

        Args:
            name: The target.
            inputs: (B, 3, H, W) preprocessed images of the target.
            pasted: (B, 3, H, W) preprocessed images of the source.
            samples: One for each image of the source, with labels.

        Returns:
            The losses by name, and ``trust``.
        """
        labels = torch.stack([sample.gt_sem_seg.data[0] for sample in samples]).long()
        predicted, trust = self.teacher_labels(inputs)
        mask = class_mask(labels, self.segmentor.num_classes)
        images = mixed(mask, pasted, inputs)
        images = self.strong_augmentation(images, self.data_preprocessor.of_domain(name))
        learned = [
            SegDataSample(metainfo=sample.metainfo, gt_sem_seg=PixelData(data=label[None]))
            for sample, label in zip(samples, mixed(mask, labels, predicted), strict=True)
        ]
        weights = torch.where(mask, 1.0, trust)
        with weighted_pixels(self.segmentor, weights):
            losses, _ = supervised_losses(self.segmentor, images, learned)
        return {**losses, "trust": trust}

    @torch.no_grad()
    def teacher_labels(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher's labels of a target.

        Args:
            inputs: (B, 3, H, W) preprocessed images.

        Returns:
            (B, H, W) int64 classes, and a scalar, the share of confident predictions.
        """
        teacher = self.teacher.module
        logits = raw_logits(teacher, inputs)
        enlarged = enlarged_logits(logits, inputs.shape[2:], teacher.align_corners)
        confidence, classes = enlarged.softmax(1).max(1)
        return classes, (confidence > self.threshold).float().mean()


def _any(names: Sequence[str]) -> str:
    """Return a random one of the names; of a single one without drawing a number."""
    return names[int(torch.randint(len(names), ()))] if len(names) > 1 else names[0]
