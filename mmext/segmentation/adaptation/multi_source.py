"""Adaptation from several sources: a model for each, which teach each other."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from mmext.registry import MODELS

from .consistency import pixel_kl
from .ensemble import SegmentorEnsemble, mean_log_probabilities
from .online_labels import class_balanced_labels, valid_cross_entropy
from .parts import LossPart, PartwiseAdaptation
from .segmentors import enlarged_logits, raw_logits, supervised_losses
from .wrapper import split_domains


@MODELS.register_module()
class MultiSourceAdaptation(PartwiseAdaptation):
    """Collaborative learning from several sources (He et al., CVPR 2021), with a target or without.

    Each source has a model of its own, its specialist. In a step it learns from three losses:

    * the segmentor's own, on the images and labels of its source,
    * ``lambda_col`` times the mean KL divergence, over the other sources, of its classes from those
      of their specialists, on the images of these,
    * ``lambda_target`` times a weight that rises from 0 to 1 times the cross entropy with pseudo
      labels of the target, which all models make together: the confident pixels of the mean of
      their probabilities (:func:`class_balanced_labels`), on the same passes that learn from them.

    Without targets the last one is left out. Each image goes through each model once, and once
    through a backbone in common (``share_backbone`` of the ensemble); the optimiser updates once. A
    step has N passes for each of N sources and for each target, and its memory is that of N models
    and of the graphs of one image through all of them.

    The alignment of the sources' colours with the target's, the other part of the method, is a
    transform in the pipelines of the sources: ``mmext.LABStatTransfer``.

    No code of the authors is public. What is written here is our reconstruction from the paper's
    description and two re-implementations by others; where these differ the options say so.

    Args:
        segmentor: Config of a :class:`SegmentorEnsemble`, whose members have the names of the
            sources; its ``test`` says whether all of them together or one is tested.
        ramp_iters: Iterations after which the weight of pseudo labels is 1, usually all of them.
        teacher: ``'specialist'``: on the images of a source its specialist teaches the others.
            ``'mutual'``: half of that, and half of the others teaching the specialist there.
        lambda_col: Weight of the losses between models; 0 saves their passes.
        lambda_target: Weight of the losses on targets; 0 saves their passes.
        portion: As for :func:`class_balanced_labels`.
        ceiling: Likewise.
        data_preprocessor: As for :class:`AdaptationModel`.
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Raises:
        TypeError: ``segmentor`` is no ensemble.
        ValueError: An option makes no sense.

    Source: He et al., "Multi-Source Domain Adaptation with Collaborative Learning for Semantic
    Segmentation", CVPR 2021. ``lambda_col`` 0.5, ``lambda_target`` 0.1 and the linear rise are in
    both re-implementations. They differ in who teaches: ``teacher``.
    """

    segmentor: SegmentorEnsemble

    def __init__(
        self,
        *,
        segmentor: dict,
        ramp_iters: int,
        teacher: Literal["specialist", "mutual"] = "specialist",
        lambda_col: float = 0.5,
        lambda_target: float = 0.1,
        portion: float = 0.5,
        ceiling: float = 0.9,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            segmentor=segmentor, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        if not isinstance(self.segmentor, SegmentorEnsemble):
            raise TypeError(
                f"model.segmentor builds a {type(self.segmentor).__name__}. Expected "
                "type='mmext.SegmentorEnsemble' with a member for each source."
            )
        if teacher not in ("specialist", "mutual"):
            raise ValueError(f"model.teacher is {teacher!r}. Expected 'specialist' or 'mutual'.")
        if ramp_iters < 1 or not (0 <= portion <= 1 and 0 <= ceiling <= 1):
            raise ValueError(
                f"model.ramp_iters is {ramp_iters}, portion {portion}, ceiling {ceiling}. Expected "
                "at least one iteration, and values from 0 to 1."
            )
        self.ramp_iters = ramp_iters
        self.teacher = teacher
        self.lambda_col = lambda_col
        self.lambda_target = lambda_target
        self.rule = dict(portion=portion, ceiling=ceiling)

    def parts(
        self, inputs: dict[str, Tensor], samples: dict[str, Sequence[SegDataSample]]
    ) -> list[LossPart]:
        """Return the losses on each domain's images, all models together.

        They are logged by domain, model and part, such as ``gta5.synscapes.loss_col``: the model of
        Synscapes on an image of GTA5.

        Args:
            inputs: (B, 3, H, W) preprocessed images by domain.
            samples: By domain.

        Raises:
            ValueError: The sources are others than the ensemble's members.
        """
        sources, targets = split_domains(samples)
        if set(sources) != set(self.segmentor.members):
            raise ValueError(
                f"model.segmentor.members are {list(self.segmentor.members)}, the sources in "
                f"train_dataloader.dataset.sources {sources}. Expected the same names: each source "
                "has a model of its own."
            )
        found = [
            LossPart(name, 1.0, partial(self.source_losses, name, inputs[name], samples[name]))
            for name in sources
        ]
        for name in targets if self.lambda_target else ():
            losses = partial(self.target_losses, inputs[name])
            found.append(LossPart(name, 1 / len(targets), losses))
        return found

    def source_losses(
        self, name: str, inputs: Tensor, samples: Sequence[SegDataSample]
    ) -> dict[str, Tensor]:
        """Return the losses of all models on images of a source.

        Args:
            name: The source.
            inputs: (B, 3, H, W) preprocessed images.
            samples: With labels.

        Returns:
            Weighted losses by model and part.
        """
        with self.segmentor.one_pass():
            return self._source_losses(name, inputs, samples)

    def _source_losses(
        self, name: str, inputs: Tensor, samples: Sequence[SegDataSample]
    ) -> dict[str, Tensor]:
        members = self.segmentor.members
        losses, special = supervised_losses(members[name], inputs, samples)
        found = {f"{name}.{key}": value for key, value in losses.items()}
        others = [other for other in members if other != name] if self.lambda_col else []
        mutual = self.teacher == "mutual"
        returned = []
        for other in others:
            weight = self.lambda_col / len(others) * (0.5 if mutual else 1.0)
            logits = raw_logits(members[other], inputs)
            found[f"{other}.loss_col"] = weight * pixel_kl(special, logits)
            if mutual:
                returned.append(weight * pixel_kl(logits, special))
        if returned:
            found[f"{name}.loss_col"] = torch.stack(returned).sum()
        return found

    def target_losses(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return the losses of all models on images of a target.

        Args:
            inputs: (B, 3, H, W) preprocessed images.

        Returns:
            Weighted losses by model, and which share of the pixels has a pseudo label.
        """
        size = inputs.shape[2:]
        with self.segmentor.one_pass():
            logits = {
                name: enlarged_logits(raw_logits(member, inputs), size, member.align_corners)
                for name, member in self.segmentor.members.items()
            }
        with torch.no_grad():
            together = mean_log_probabilities([part.detach() for part in logits.values()]).exp()
            labels = class_balanced_labels(together, **self.rule)
        weight = self.lambda_target * min(1.0, self.iteration / self.ramp_iters)
        found = {
            f"{name}.loss_target": weight * valid_cross_entropy(part, labels)
            for name, part in logits.items()
        }
        found["labelled"] = (labels < together.shape[1]).float().mean()
        return found
