"""Several targets at once: experts that agree with each other teach one student."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from mmengine.model import ModuleDict
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmext.engine import IterationPasses, frozen, learning
from mmext.registry import MODELS

from ..datasets.multi_domain import ROLE
from .bdl import SOURCE, TARGET
from .bridge import BridgingDataPreprocessor, view_name
from .consistency import parameter_distance, pixel_kl
from .experts import load_expert, require_nothing_to_learn, require_targets, share_backbone
from .segmentors import probability_maps, raw_logits, supervised_losses
from .wrapper import AdaptationModel, LogVars, has_pseudo_labels, passes_of, split_domains

ExpertKind = Literal["separate", "shared_backbone", "frozen"]
Samples = Mapping[str, Sequence[SegDataSample]]


@dataclass
class _Step:
    """What the parts of a training step share."""

    inputs: Mapping[str, Tensor]
    samples: Samples
    passes: Mapping[str, IterationPasses]
    ramp: float | None
    """Share of the full weight of consistency and distillation; None: experts are warming up."""
    logs: LogVars = field(default_factory=dict)
    totals: list[Tensor] = field(default_factory=list)

    def learn(self, part: str, network: nn.Module, loss: Tensor) -> None:
        """Let a network of a part learn from a loss."""
        self.passes[part].backward(loss, learning(network))
        self.totals.append(loss.detach())


@MODELS.register_module()
class MultiTargetAdaptation(AdaptationModel):
    """Collaborative consistency learning (Isobe et al., arXiv 2106.03418): one model, many targets.

    Each target has an expert, which learns from sources re-coloured as the target and adapts to it
    by deceiving a discriminator of its own. Experts agree: what expert j makes of an image of
    target i in the colours of target j teaches expert i. All of them teach a student, each on the
    images of its target, and are drawn to the student's weights. The student is ``segmentor``: it
    alone predicts, is tested and is exported. With targets :math:`n = 1..N`

    ``sum_n (L_seg + lambda_adv L_adv) + r (lambda_consistency L_cc + lambda_distillation L_kd) +
    lambda_weights L_wr``

    is minimised, where

    * ``L_cc = 1 / (N (N - 1)) sum_{i != j} KL(E_j(x_i in the colours of j) || E_i(x_i))``, of which
      the first, the teacher, is detached;
    * ``L_kd = 1 / N sum_n KL(E_n(x_n) || M(x_n))``, of which the student M alone learns;
    * ``L_wr = sum_n mean |E_n - M| ** weight_norm`` over the parameters;
    * r goes linearly from 0 to 1 in ``ramp_iters`` iterations after the warm-up.

    **A reconstruction.** The method's code is not public. The parts (experts, bridges between
    targets, consistency, online distillation, regularised weights) are the paper's; the bridge by
    LAB statistics, the forms of the terms, what is detached, warm-up, ramp and all weights are our
    reading of it.

    In a step each network sees each image once: an expert the sources in its colours, its
    target and, without gradients, the other targets in its colours; the student each target. What
    experts teach is what they see in training, with dropout if they have it.

    Args:
        segmentor: Config of the student, and of each expert. See :class:`AdaptationModel`.
        targets: Names of the targets, two or more, as in the data set.
        experts: ``'separate'``: share nothing, as in the paper. ``'shared_backbone'``: one backbone
            (and neck) for all, a head for each; the student keeps its own. ``'frozen'``: do not
            learn, so that the student's distillation is all that is left.
        expert_checkpoints: Checkpoints of plain segmentors that experts start from, by target.
        discriminator: As for :class:`BDL`; each pair of sources and target has its own.
        adversarial_loss: As for :class:`BDL`.
        bridge: Config of what gives an image the look of another, see :class:`LABBridge`. None:
            images stay as they are.
        warmup_iters: Number of iterations before consistency, distillation and weights begin; only
            the experts learn in them.
        ramp_iters: Number of iterations until consistency and distillation have their full weight.
        student_start: ``'expert'``: the student takes over the first target's expert after the
            warm-up. ``'own'``: it begins with its own initial weights.
        lambda_adv: Weight of the adversarial loss of an expert.
        lambda_consistency: Weight of the experts' agreement.
        lambda_distillation: Weight of the student's loss.
        lambda_weights: Weight of the distance between the experts' weights and the student's.
        weight_norm: Power of that distance, 1 or 2.
        detach_student: Whether that distance moves the experts only, or both.
        data_preprocessor: As for :class:`AdaptationModel`.
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: Arguments that do not go together.
    """

    def __init__(
        self,
        *,
        segmentor: dict,
        targets: Sequence[str],
        experts: ExpertKind = "separate",
        expert_checkpoints: Mapping[str, str] | None = None,
        discriminator: dict | None = None,
        adversarial_loss: dict = dict(type="mmext.AdversarialLoss"),
        bridge: dict | None = dict(type="mmext.LABBridge"),
        warmup_iters: int = 0,
        ramp_iters: int = 0,
        student_start: Literal["expert", "own"] = "expert",
        lambda_adv: float = 0.001,
        lambda_consistency: float = 1.0,
        lambda_distillation: float = 1.0,
        lambda_weights: float = 1.0,
        weight_norm: Literal[1, 2] = 2,
        detach_student: bool = True,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            segmentor=segmentor, data_preprocessor=data_preprocessor, init_cfg=init_cfg
        )
        self.targets = list(targets)
        self.expert_checkpoints = dict(expert_checkpoints or {})
        require_targets(self.targets, self.expert_checkpoints)
        _require_choice("experts", experts, ("separate", "shared_backbone", "frozen"))
        _require_choice("student_start", student_start, ("expert", "own"))
        _require_choice("weight_norm", weight_norm, (1, 2))
        self.experts_learn = experts != "frozen"
        if not self.experts_learn:
            require_nothing_to_learn(
                self.targets, self.expert_checkpoints, discriminator, warmup_iters
            )
        self.experts = ModuleDict({name: MODELS.build(segmentor) for name in self.targets})
        if experts == "shared_backbone":
            share_backbone(list(self.experts.values()))
        if not self.experts_learn:
            self.experts.requires_grad_(False).eval()
        self.discriminators = None
        if discriminator is not None:
            self.discriminators = ModuleDict(
                {name: MODELS.build(discriminator) for name in self.targets}
            )
            self.adversarial_loss = MODELS.build(adversarial_loss)
        self.data_preprocessor = BridgingDataPreprocessor(
            default=self.data_preprocessor.default,
            domains=self.data_preprocessor.domains,
            bridge=None if bridge is None else MODELS.build(bridge),
            from_sources=self.experts_learn,
            between_targets=self.experts_learn and lambda_consistency > 0,
        )
        self.warmup_iters = warmup_iters
        self.ramp_iters = ramp_iters
        self.student_start = student_start
        self.lambda_adv = lambda_adv
        self.lambda_consistency = lambda_consistency
        self.lambda_distillation = lambda_distillation
        self.lambda_weights = lambda_weights
        self.weight_norm = weight_norm
        self.detach_student = detach_student

    def init_weights(self) -> None:
        """Initialise all networks, then load the experts' checkpoints."""
        super().init_weights()
        for name, path in self.expert_checkpoints.items():
            load_expert(self.experts[name], path, name)

    def train(self, mode: bool = True) -> "MultiTargetAdaptation":
        """Set the mode; frozen experts stay in ``eval()``."""
        super().train(mode)
        if not self.experts_learn:
            self.experts.eval()
        return self

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> LogVars:
        """Learn from a batch.

        Args:
            data: A batch of a ``MultiDomainDataset``.
            optim_wrapper: Optimisers ``segmentor`` (the student's), ``experts`` unless they are
                frozen, and ``discriminators`` if there are any.

        Returns:
            What to log: ``loss`` of student and experts, and each loss by domain or view.
        """
        self._require_batch(data["data_samples"])
        passes = passes_of(optim_wrapper, self._learning_parts())
        iteration = passes["segmentor"].iteration
        if iteration == self.warmup_iters and self.student_start == "expert":
            self.segmentor.load_state_dict(self.experts[self.targets[0]].state_dict())
        batch = self.data_preprocessor(data, True)
        step = _Step(batch["inputs"], batch["data_samples"], passes, self._ramp(iteration))
        for target in self.targets:
            if self.experts_learn:
                self._learn_from_sources(target, step)
            if step.ramp is not None or self._adversarial:
                self._learn_from_target(target, step)
            if step.ramp is not None:
                self._draw_together(target, step)
        for part in passes.values():
            part.finish()
        return {"loss": torch.stack(step.totals).sum(), **step.logs}

    def consistency_loss(self, target: str, logits: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return how far an expert is from the others on images of its target.

        Args:
            target: Name of the expert's target.
            logits: (B, C, h, w) of the expert on the images of its target.
            inputs: (B, 3, H, W) by the name of a target or view.

        Returns:
            The mean over the other experts, who see the images in their own colours.
        """
        losses = []
        for other in self.targets:
            if other != target:
                with torch.no_grad():
                    teacher = raw_logits(self.experts[other], inputs[view_name(target, other)])
                losses.append(pixel_kl(teacher, logits))
        return torch.stack(losses).mean()

    def weight_loss(self, target: str, detach: Literal["a", "b"] | None = None) -> Tensor:
        """Return how far the weights of an expert are from the student's.

        Args:
            target: Name of the expert's target.
            detach: ``'a'``: the student learns, ``'b'``: the expert, None: both.
        """
        return parameter_distance(self.experts[target], self.segmentor, self.weight_norm, detach)

    def loss(self, inputs: dict[str, Tensor], data_samples: Samples) -> LogVars:
        """Return all losses by name, after warm-up and ramp; discriminators see no gradients.

        Args:
            inputs: (B, 3, H, W) by the name of a target or view, as the preprocessor names them.
            data_samples: Likewise.
        """
        found: LogVars = {}
        for target in self.targets:
            expert, share = self.experts[target], 1 / len(self.targets)
            logits = raw_logits(expert, inputs[target])
            predicted = {target: logits}
            if self.experts_learn:
                for view in _source_views(target, data_samples):
                    losses, predicted[view] = supervised_losses(
                        expert, inputs[view], data_samples[view]
                    )
                    found |= {f"{view}.{key}": value for key, value in losses.items()}
                found[f"{target}.loss_weights"] = self.lambda_weights * self.weight_loss(
                    target, "b" if self.detach_student else None
                )
                if self.lambda_consistency > 0:
                    agreement = self.consistency_loss(target, logits, inputs)
                    found[f"{target}.loss_consistency"] = (
                        share * self.lambda_consistency * agreement
                    )
            if self._adversarial:
                with frozen(self.discriminators[target]):
                    scores = self._judge(target, logits, inputs[target])
                found[f"{target}.loss_adv"] = self.lambda_adv * self.adversarial_loss(
                    scores, SOURCE
                )
                for name, maps in predicted.items():
                    scores = self._judge(target, maps.detach(), inputs[name])
                    label = TARGET if name == target else SOURCE
                    found[f"{name}.loss_discriminator"] = 0.5 * self.adversarial_loss(scores, label)
            learnt = pixel_kl(logits, raw_logits(self.segmentor, inputs[target]))
            found[f"{target}.loss_distillation"] = share * self.lambda_distillation * learnt
        return found

    @property
    def _adversarial(self) -> bool:
        return self.discriminators is not None

    def _learning_parts(self) -> list[str]:
        parts = dict(segmentor=True, experts=self.experts_learn, discriminators=self._adversarial)
        return [name for name, learns in parts.items() if learns]

    def _ramp(self, iteration: int) -> float | None:
        """Return the share of the full weight of consistency and distillation."""
        since = iteration - self.warmup_iters
        if since < 0:
            return None
        return min(1.0, (since + 1) / self.ramp_iters) if self.ramp_iters else 1.0

    def _learn_from_sources(self, target: str, step: _Step) -> None:
        """Teach an expert the labels of the sources in its colours."""
        expert, views = self.experts[target], _source_views(target, step.samples)
        for view in views:
            with step.passes["experts"].context(expert):
                losses, logits = supervised_losses(expert, step.inputs[view], step.samples[view])
            total, figures = self.log_losses(view, losses)
            step.learn("experts", expert, total / len(views))
            step.logs |= figures
            if self._adversarial:
                with step.passes["discriminators"].context(self.discriminators[target]):
                    scores = self._judge(target, logits.detach(), step.inputs[view])
                loss = 0.5 * self.adversarial_loss(scores, SOURCE)
                self._teach_discriminator(target, loss / len(views), step)
                step.logs[f"{view}.loss_discriminator"] = loss.detach()

    def _learn_from_target(self, target: str, step: _Step) -> None:
        """Let an expert deceive and agree, and the student learn from it."""
        expert, inputs = self.experts[target], step.inputs[target]
        losses: dict[str, Tensor] = {}
        if self.experts_learn:
            with step.passes["experts"].context(expert):
                logits = raw_logits(expert, inputs)
                if step.ramp is not None and self.lambda_consistency > 0:
                    weight = step.ramp * self.lambda_consistency / len(self.targets)
                    agreement = self.consistency_loss(target, logits, step.inputs)
                    losses["loss_consistency"] = weight * agreement
        else:
            with torch.no_grad(), step.passes["segmentor"].context(expert):
                logits = raw_logits(expert, inputs)
        if self._adversarial:
            with step.passes["discriminators"].context(self.discriminators[target]):
                scores = self._judge(target, logits, inputs)
            loss = 0.5 * self.adversarial_loss(scores, TARGET)
            # Before the expert's own pass, which then frees the graph that both share.
            self._teach_discriminator(target, loss, step, retain_graph=True)
            losses["loss_adv"] = self.lambda_adv * self.adversarial_loss(scores, SOURCE)
            step.logs[f"{target}.loss_discriminator"] = loss.detach()
        if losses:
            total, figures = self.log_losses(target, losses)
            step.learn("experts", expert, total)
            step.logs |= figures
        if step.ramp is not None:
            self._teach_student(target, logits, step)

    def _teach_discriminator(
        self, target: str, loss: Tensor, step: _Step, retain_graph: bool = False
    ) -> None:
        parameters = learning(self.discriminators[target])
        step.passes["discriminators"].backward(loss, parameters, retain_graph=retain_graph)

    def _teach_student(self, target: str, teacher: Tensor, step: _Step) -> None:
        """Let the student learn what an expert says of its target."""
        with step.passes["segmentor"].context(self.segmentor):
            logits = raw_logits(self.segmentor, step.inputs[target])
        weight = step.ramp * self.lambda_distillation / len(self.targets)
        loss = weight * pixel_kl(teacher, logits)
        step.learn("segmentor", self.segmentor, loss)
        step.logs[f"{target}.loss_distillation"] = loss.detach()

    def _draw_together(self, target: str, step: _Step) -> None:
        """Draw the weights of an expert to the student's, and perhaps the other way round."""
        if not self.experts_learn or self.lambda_weights == 0:
            return
        loss = self.lambda_weights * self.weight_loss(target, "b")
        step.learn("experts", self.experts[target], loss)
        step.logs[f"{target}.loss_weights"] = loss.detach()
        if not self.detach_student:
            loss = self.lambda_weights * self.weight_loss(target, "a")
            step.passes["segmentor"].backward(loss, learning(self.segmentor))

    def _judge(self, target: str, logits: Tensor, images: Tensor) -> Tensor:
        """Return the scores of a target's discriminator for (B, C, h, w) logits."""
        maps = probability_maps(logits, images.shape[2:], self.segmentor.align_corners)
        return self.discriminators[target](maps)

    def _require_batch(self, samples: Samples) -> None:
        _, found = split_domains(samples)
        if set(found) != set(self.targets):
            raise ValueError(
                f"model.targets is {self.targets}, train_dataloader.dataset.targets has {found}. "
                "Expected the same names."
            )
        pseudo = [name for name in found if has_pseudo_labels(samples[name])]
        if pseudo:
            raise ValueError(
                f"train_dataloader.dataset.targets.{pseudo[0]} has pseudo labels, which "
                "MultiTargetAdaptation does not learn from. Give the data set itself in place of "
                "the PseudoLabelDataset, or use mmext.BDL."
            )


def _source_views(target: str, samples: Samples) -> list[str]:
    """Return the names of the sources in the colours of a target."""
    return [
        name
        for name, part in samples.items()
        if name.endswith(view_name("", target)) and part[0].get(ROLE) == "source"
    ]


def _require_choice(key: str, value: object, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f"model.{key} is {value!r}. Expected one of {choices}.")
