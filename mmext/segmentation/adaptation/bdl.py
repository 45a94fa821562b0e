"""BDL's step on the segmentation: adaptation in the output space, with pseudo labels or without."""

from collections.abc import Sequence

import torch
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample
from torch import Tensor

from mmext.registry import MODELS

from .segmentors import frozen, probability_maps, raw_logits, supervised_losses
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

    A step does, in this order: source losses backward; target losses backward, the discriminator
    held still; both halves of the discriminator's loss backward, on the predictions of these two
    passes; one update of each optimiser. With several sources or targets their losses are averaged.

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
        logs: LogVars = {}
        totals, seen = [], {}

        learner = passes["segmentor"]
        for name in sources + targets:
            with learner.context(self.segmentor):
                if name in sources:
                    losses, logits = self.source_losses(inputs[name], samples[name])
                else:
                    losses, logits = self.target_losses(inputs[name], samples[name])
            seen[name] = logits.detach()
            if losses:
                total, figures = self.log_losses(name, losses)
                share = len(sources) if name in sources else len(targets)
                learner.backward(total / share)
                totals.append(total.detach() / share)
                logs |= figures

        if adversarial and targets:
            judge = passes["discriminator"]
            for name, logits in seen.items():
                label, share = (SOURCE, len(sources)) if name in sources else (TARGET, len(targets))
                with judge.context(self.discriminator):
                    loss = self.discriminator_loss(logits, inputs[name].shape[2:], label)
                judge.backward(loss / share)
                logs[f"{name}.loss_discriminator"] = loss.detach()

        for part in passes.values():
            part.finish()
        return {"loss": torch.stack(totals).sum(), **logs}

    def source_losses(
        self, inputs: Tensor, samples: Sequence[SegDataSample]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses and (B, C, h, w) logits of labelled images.

        Args:
            inputs: (B, 3, H, W) preprocessed images.
            samples: With ``gt_sem_seg``.
        """
        return supervised_losses(self.segmentor, inputs, samples)

    def target_losses(
        self, inputs: Tensor, samples: Sequence[SegDataSample]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses and (B, C, h, w) logits of images of a target.

        Args:
            inputs: (B, 3, H, W) preprocessed images.
            samples: With pseudo labels as ``gt_sem_seg``, or without any.
        """
        if has_pseudo_labels(samples):
            losses, logits = supervised_losses(self.segmentor, inputs, samples)
        else:
            losses, logits = {}, raw_logits(self.segmentor, inputs)
        if self.discriminator is not None:
            with frozen(self.discriminator):
                scores = self._judge(logits, inputs.shape[2:])
            losses["loss_adv"] = self.lambda_adv * self.adversarial_loss(scores, SOURCE)
        return losses, logits

    def discriminator_loss(self, logits: Tensor, size: Sequence[int], label: int) -> Tensor:
        """Return half of the discriminator's loss.

        Args:
            logits: (B, C, h, w), detached.
            size: (H, W) of the images.
            label: ``SOURCE`` or ``TARGET``.
        """
        return 0.5 * self.adversarial_loss(self._judge(logits, size), label)

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
            source = name in sources
            compute = self.source_losses if source else self.target_losses
            losses, logits = compute(inputs[name], data_samples[name])
            found |= {f"{name}.{key}": value for key, value in losses.items()}
            if self.discriminator is not None:
                found[f"{name}.loss_discriminator"] = self.discriminator_loss(
                    logits.detach(), inputs[name].shape[2:], SOURCE if source else TARGET
                )
        return found

    def _judge(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        return self.discriminator(probability_maps(logits, size, self.segmentor.align_corners))
