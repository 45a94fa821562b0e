"""Dual-level domain mixing with few labels of the target: two teachers and a student."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Self

import torch
from mmengine.model import ModuleDict
from mmengine.structures import PixelData
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmext.registry import MODELS

from .consistency import pixel_kl
from .ensemble import mean_log_probabilities
from .mixing import mixed, rectangle_mask
from .parts import LossPart, PartwiseAdaptation
from .segmentors import raw_logits, supervised_losses
from .wrapper import split_domains


@MODELS.register_module()
class RegionMixing(PartwiseAdaptation):
    """Training on images of two labelled domains, a rectangle of one on the other.

    It is the region-level teacher of dual-level domain mixing, whose two domains are the source and
    the few labelled images of the target; ``BDL`` with the two as sources is the sample-level one.
    A step has a single pass. Targets in the batch are not looked at.

    Args:
        segmentor: As for :class:`AdaptationModel`.
        data_preprocessor: Likewise.
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Source: Chen et al., "Semi-supervised Domain Adaptation based on Dual-level Domain Mixing for
    Semantic Segmentation" (CVPR 2021), section 3.2. How large the rectangle is stands nowhere that
    we know; it is half of the image, :func:`rectangle_mask`.
    """

    def parts(
        self, inputs: dict[str, Tensor], samples: dict[str, Sequence[SegDataSample]]
    ) -> list[LossPart]:
        """Return the losses on the mixed images.

        Args:
            inputs: (B, 3, H, W) preprocessed images by domain.
            samples: By domain.

        Raises:
            ValueError: There are not two labelled domains.
        """
        sources, _ = split_domains(samples)
        if len(sources) != 2:
            raise ValueError(
                f"train_dataloader.dataset.sources are {sources}. mmext.RegionMixing expects two "
                "labelled domains, such as the source and few images of the target."
            )
        inside, outside = sources
        return [LossPart("mixed", 1.0, partial(self._losses, inputs, samples, inside, outside))]

    def _losses(
        self,
        inputs: dict[str, Tensor],
        samples: dict[str, Sequence[SegDataSample]],
        inside: str,
        outside: str,
    ) -> dict[str, Tensor]:
        labels = {
            name: torch.stack([sample.gt_sem_seg.data[0] for sample in samples[name]])
            for name in (inside, outside)
        }
        count, _, *size = inputs[inside].shape
        mask = rectangle_mask(count, size, inputs[inside].device)
        images = mixed(mask, inputs[inside], inputs[outside])
        learned = [
            SegDataSample(metainfo=sample.metainfo, gt_sem_seg=PixelData(data=label[None]))
            for sample, label in zip(
                samples[inside], mixed(mask, labels[inside], labels[outside]), strict=True
            )
        ]
        return supervised_losses(self.segmentor, images, learned)[0]


@MODELS.register_module()
class TeacherDistillation(PartwiseAdaptation):
    """A student of several teachers that learn no more, on unlabelled targets.

    ``lambda_kl`` times the KL divergence of the student's classes from the mean of the teachers'
    probabilities, on the images of the targets; and the segmentor's own losses on labelled domains,
    the sources of the data set. It is the student of dual-level domain mixing, where the labelled
    domain is the few labelled images of the target. A target's image has a pass through the student
    and one through each teacher, without gradients.

    Args:
        segmentor: Config of the student, as for :class:`AdaptationModel`.
        teachers: Config of a segmentor for each name, with ``init_cfg=dict(type='Pretrained',
            checkpoint=..., prefix='segmentor')``. They predict as in tests.
        lambda_kl: Weight of the divergence.
        data_preprocessor: As for :class:`AdaptationModel`; teachers see the student's images.
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: There is no teacher, or one has another number of classes.

    Source: Chen et al., CVPR 2021, equation of the student: ``lambda_kl`` 0.5, weight 1 for labels.
    """

    def __init__(
        self,
        *,
        segmentor: dict,
        teachers: Mapping[str, dict],
        lambda_kl: float = 0.5,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            segmentor=segmentor, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        if not teachers:
            raise ValueError("model.teachers is empty. Expected the config of a segmentor or more.")
        self.teachers: Mapping[str, BaseSegmentor] = ModuleDict(
            {name: MODELS.build(config) for name, config in teachers.items()}
        )
        for name, teacher in self.teachers.items():
            if teacher.out_channels != self.segmentor.out_channels:
                raise ValueError(
                    f"model.teachers.{name} has {teacher.out_channels} outputs, the student "
                    f"{self.segmentor.out_channels}. Expected the same classes."
                )
        self.teachers.requires_grad_(False)
        self.teachers.eval()
        self.lambda_kl = lambda_kl

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the student; teachers always predict as in tests."""
        super().train(mode)
        self.teachers.eval()
        return self

    def parts(
        self, inputs: dict[str, Tensor], samples: dict[str, Sequence[SegDataSample]]
    ) -> list[LossPart]:
        """Return the losses on labelled domains, and those of the teachers on targets.

        Args:
            inputs: (B, 3, H, W) preprocessed images by domain.
            samples: By domain.
        """
        sources, targets = split_domains(samples)
        labelled = [
            LossPart(
                name, 1 / len(sources), partial(self.labelled_losses, inputs[name], samples[name])
            )
            for name in sources
        ]
        taught = [
            LossPart(name, 1 / len(targets), partial(self._imitate, inputs[name]))
            for name in targets
        ]
        return labelled + taught

    def _imitate(self, inputs: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            found = [raw_logits(teacher, inputs) for teacher in self.teachers.values()]
            # Logarithms of probabilities are logits of these.
            together = mean_log_probabilities(found)
        student = raw_logits(self.segmentor, inputs)
        return dict(loss_kl=self.lambda_kl * pixel_kl(together, student))
