"""BDL's step on the segmentation: adaptation in the output space, with pseudo labels or without."""

from collections.abc import Sequence

import torch
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample
from torch import Tensor

from mmext.engine import frozen, learning
from mmext.registry import MODELS

from ..datasets.multi_domain import ROLE
from .segmentors import probability_maps, raw_logits, supervised_losses
from .wrapper import AdaptationModel, LogVars, has_pseudo_labels, passes_of, split_domains

SOURCE, TARGET = 0, 1
"""What a discriminator learns to answer."""


@MODELS.register_module()
class BDL(AdaptationModel):
    """Bidirectional learning (Li et al., arXiv 1904.10620): the step on the segmentation model.

    The segmentor learns from labelled (translated) source images, from target images by deceiving a
    discriminator that tells the domains apart by the segmentation, and from pseudo labels of the
    target where its data set is a ``PseudoLabelDataset``. With a discriminator and no pseudo labels
    it is AdaptSegNet with one output level, without a discriminator it is self-training, without
    targets training on the source alone.

    A step computes gradients as the official one does: of the source losses; of the target losses,
    which leave the discriminator alone; of both halves of the discriminator's loss on the same
    predictions, which leave the segmentor alone; then one update of each optimiser. The order of
    these passes does not matter, since nothing is updated before the end: here each image goes
    through segmentor and discriminator once. With several sources or targets their losses are
    averaged.

    The official step and this one differ in nothing but two oddities of the official code, which
    are made elsewhere: ``mmext.DuplicateParamsConstructor`` updates parameters three times, and
    ``mmext.ProbabilityEncoderDecoder`` as the segmentor enlarges probabilities instead of logits in
    tests.

    Args:
        segmentor: As for :class:`AdaptationModel`. Its losses should be means over the pixels that
            are not ignored: ``loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True)``.
        discriminator: Config of the discriminator, probabilities (B, C, H, W) in, scores out,
            such as ``dict(type='mmext.OutputDiscriminator', num_classes=19)``. None: no adversarial
            part.
        adversarial_loss: Config of the loss of scores and label.
        lambda_adv: Weight of the adversarial loss of the segmentor.
        data_preprocessor: As for :class:`AdaptationModel`.
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Source: BDL, equations 1 and 2 and its official code: domain labels 0 (source) and 1 (target),
    ``lambda_adv`` 0.001, weight 1 for pseudo labels.
    """

    def __init__(
        self,
        *,
        segmentor: dict,
        discriminator: dict | None = None,
        adversarial_loss: dict = dict(type="mmext.AdversarialLoss"),
        lambda_adv: float = 0.001,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            segmentor=segmentor, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        self.discriminator = None
        if discriminator is not None:
            self.discriminator = MODELS.build(discriminator)
            self.adversarial_loss = MODELS.build(adversarial_loss)
        self.lambda_adv = lambda_adv

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> LogVars:
        """Learn from a batch.

        Args:
            data: A batch of a ``MultiDomainDataset``.
            optim_wrapper: Optimisers ``segmentor`` and, if there is one, ``discriminator``.

        Returns:
            What to log: ``loss`` of the segmentor, and each loss by domain and part.
        """
        adversarial = self.discriminator is not None
        names = ("segmentor", "discriminator") if adversarial else ("segmentor",)
        passes = passes_of(optim_wrapper, names)
        batch = self.data_preprocessor(data, True)
        inputs, samples = batch["inputs"], batch["data_samples"]
        sources, targets = split_domains(samples)
        learner, judge = passes["segmentor"], passes.get("discriminator")
        logs: LogVars = {}
        totals = []

        for name in sources + targets:
            target = name in targets
            share = len(targets) if target else len(sources)
            with learner.context(self.segmentor):
                losses, logits = self.segmentor_losses(inputs[name], samples[name])
            if adversarial and targets:
                with judge.context(self.discriminator):
                    scores = self._judge(logits if target else logits.detach(), inputs[name])
                    loss = self.discriminator_loss(scores, TARGET if target else SOURCE)
                    if target:
                        losses["loss_adv"] = self.deception_loss(scores)
                # Before the segmentor's own pass, which then frees the graph that both share.
                judge.backward(loss / share, learning(self.discriminator), retain_graph=target)
                logs[f"{name}.loss_discriminator"] = loss.detach()
            if losses:
                total, figures = self.log_losses(name, losses)
                learner.backward(total / share, learning(self.segmentor))
                totals.append(total.detach() / share)
                logs |= figures

        for part in passes.values():
            part.finish()
        return {"loss": torch.stack(totals).sum(), **logs}

    def segmentor_losses(
        self, inputs: Tensor, samples: Sequence[SegDataSample]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the segmentor's own losses, none for a target without pseudo labels, and logits.

        Args:
            inputs: (B, 3, H, W) preprocessed images of a domain.
            samples: One per image.

        Returns:
            The losses by name, and (B, C, h, w) logits.
        """
        if samples[0].get(ROLE) == "source" or has_pseudo_labels(samples):
            return supervised_losses(self.segmentor, inputs, samples)
        return {}, raw_logits(self.segmentor, inputs)

    def deception_loss(self, scores: Tensor) -> Tensor:
        """Return the weighted loss of the segmentor for being told from the source.

        Args:
            scores: The discriminator's of a target, of any shape.
        """
        return self.lambda_adv * self.adversarial_loss(scores, SOURCE)

    def discriminator_loss(self, scores: Tensor, label: int) -> Tensor:
        """Return half of the discriminator's loss.

        Args:
            scores: Its scores of a domain, of any shape.
            label: ``SOURCE`` or ``TARGET``.
        """
        return 0.5 * self.adversarial_loss(scores, label)

    def loss(
        self, inputs: dict[str, Tensor], data_samples: dict[str, Sequence[SegDataSample]]
    ) -> LogVars:
        """Return all losses by name; the discriminator's see detached predictions.

        Args:
            inputs: (B, 3, H, W) by domain.
            data_samples: By domain.
        """
        sources, targets = split_domains(data_samples)
        found: LogVars = {}
        for name in sources + targets:
            target = name in targets
            losses, logits = self.segmentor_losses(inputs[name], data_samples[name])
            if self.discriminator is not None:
                if target:
                    with frozen(self.discriminator):
                        losses["loss_adv"] = self.deception_loss(self._judge(logits, inputs[name]))
                scores = self._judge(logits.detach(), inputs[name])
                losses["loss_discriminator"] = self.discriminator_loss(
                    scores, TARGET if target else SOURCE
                )
            found |= {f"{name}.{key}": value for key, value in losses.items()}
        return found

    def _judge(self, logits: Tensor, images: Tensor) -> Tensor:
        """Return the discriminator's scores of (B, C, h, w) logits for (B, 3, H, W) images."""
        maps = probability_maps(logits, images.shape[2:], self.segmentor.align_corners)
        return self.discriminator(maps)
