"""What MI-AOD adds to a dense head: a second classifier, a multiple instance one, three stages."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from torch import Tensor

from .discrepancy import discrepancy_loss, image_uncertainty
from .multiple_instance import (
    ClassReduce,
    LevelReduce,
    WeightForm,
    flatten_level,
    image_class_loss,
    image_class_scores,
    image_class_targets,
    instance_scores,
    pseudo_class_targets,
)
from .switches import Source, choose

Stage = Literal["label", "min", "max"]
Losses = dict[str, Tensor | list[Tensor]]

SECOND = "f_2_"
MIL = "f_mil_"


class HeadOutputs(NamedTuple):
    """Maps of all branches, each a list over levels of (B, channels, H, W).

    Attributes:
        first: Scores of f_1 and whatever else the host's forward gives, boxes above all.
        second: Scores of f_2.
        mil: Scores of f_mil, empty if nothing needs them.
    """

    first: Sequence[Sequence[Tensor]]
    second: Sequence[Tensor]
    mil: Sequence[Tensor]

    def take(self, images: list[int]) -> "HeadOutputs":
        """Return the maps of some images of the batch."""
        if len(images) == len(self.second[0]):
            return self
        first = [[level[images] for level in maps] for maps in self.first]
        second, mil = ([level[images] for level in maps] for maps in self[1:])
        return HeadOutputs(first, second, mil)


class MIAODMixin:
    """Makes a dense head of mmdet learn from unlabelled images by MI-AOD.

    Multiple Instance Active Learning for Object Detection (Yuan et al., CVPR 2021, arXiv
    2104.02324). Beside the host's classifier (f_1) and box regressor (f_r) stand a second
    classifier (f_2) and a multiple instance classifier (f_mil), built like the first. Their modules
    have the names of the host's with ``f_2_`` and ``f_mil_`` before them, so the host's class loads
    its half of a checkpoint. Only f_1 and f_r detect.

    The loss depends on the stage (:meth:`set_stage`) and on whether an image is labelled, which its
    meta information says under ``labeled`` (labelled if it does not):

    =========== ======================================== =====================================
    stage       labelled images                          unlabelled images
    =========== ======================================== =====================================
    ``label``   detection, classes of images             not allowed
    ``min``     detection, classes of images             discrepancy of f_1 and f_2 (to be
                                                         minimised), classes they find in images
    ``max``     detection, with ``img_cls_in_max``       discrepancy (to be maximised)
                also classes of images
    =========== ======================================== =====================================

    The annotations of unlabelled images are not read. Which parameters learn is not decided here:
    the official code freezes f_1 and f_2 in ``min`` and all but these in ``max``.

    To use it with another head, list it first among the bases and name the modules of the class
    branch::

        class MIAODATSSHead(MIAODMixin, ATSSHead):
            cls_branch = ("cls_convs", "atss_cls")

    The host has to have a ``get_targets`` that does not depend on the scores: both classifiers
    learn the same targets, which are assigned once.

    Args:
        *args (Any): Of the host.
        faithful (str): ``code`` (official code) or ``paper``, the default of all choices below;
            listed as code / paper.
        dis_weight (float): Factor on the discrepancy, lambda in the paper.
        det_cls_reduce (str | None): ``mean`` / ``sum`` of the classification losses of f_1 and f_2.
        mil_weight (str | None): ``code`` / ``paper``, see
            :func:`mmext.detection.mi_aod.instance_scores`.
        mil_level_reduce (str | None): ``max`` / ``sum``, see
            :func:`mmext.detection.mi_aod.image_class_scores`.
        img_cls_reduce (str | None): ``mean`` / ``sum`` over classes, see
            :func:`mmext.detection.mi_aod.image_class_loss`.
        img_cls_in_max (bool | None): False / True, see the table.
        score_sigmoid (bool | None): True / False. Whether :meth:`image_scores` takes sigmoids even
            if the classifiers are trained with a softmax.
        **kwargs (Any): Of the host.
    """

    cls_branch: tuple[str, ...]

    def __init__(
        self,
        *args: Any,
        faithful: Source = "code",
        dis_weight: float = 0.5,
        det_cls_reduce: ClassReduce | None = None,
        mil_weight: WeightForm | None = None,
        mil_level_reduce: LevelReduce | None = None,
        img_cls_reduce: ClassReduce | None = None,
        img_cls_in_max: bool | None = None,
        score_sigmoid: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.switches = choose(
            faithful,
            det_cls_reduce=det_cls_reduce,
            mil_weight=mil_weight,
            mil_level_reduce=mil_level_reduce,
            img_cls_reduce=img_cls_reduce,
            img_cls_in_max=img_cls_in_max,
            score_sigmoid=score_sigmoid,
        )
        self.dis_weight = dis_weight
        self.stage: Stage = "label"
        self._shared_targets: list[tuple] | None = None

    def _init_layers(self) -> None:
        """Build the host's layers three times: a copy would have the same random values."""
        for prefix in (SECOND, MIL):
            super()._init_layers()
            for name in self.cls_branch:
                self.add_module(prefix + name, getattr(self, name))
        super()._init_layers()

    def set_stage(self, stage: Stage) -> None:
        """Choose what is learned.

        Args:
            stage (str): ``label``, ``min`` or ``max``.

        Raises:
            ValueError: It is none of these.
        """
        if stage not in get_args(Stage):
            raise ValueError(f"stage must be one of {get_args(Stage)}, got {stage!r}.")
        self.stage = stage

    def branch_scores(self, feats: Sequence[Tensor], prefix: str) -> list[Tensor]:
        """Scores of one classifier: convolutions in a row and an output, shared by all levels.

        Args:
            feats (Sequence[Tensor]): (B, C, H, W) of each level.
            prefix (str): Nothing, ``f_2_`` or ``f_mil_``.

        Returns:
            list[Tensor]: (B, N * K, H, W) of each level.
        """
        *towers, out = (getattr(self, prefix + name) for name in self.cls_branch)
        layers = [layer for tower in towers for layer in tower]
        scores = []
        for feat in feats:
            for layer in layers:
                feat = layer(feat)
            scores.append(out(feat))
        return scores

    def get_targets(self, *args: Any, **kwargs: Any) -> tuple:
        """Assign anchors as the host does, or return what was assigned for the other classifier."""
        if self._shared_targets is None:
            return super().get_targets(*args, **kwargs)
        if not self._shared_targets:
            self._shared_targets.append(super().get_targets(*args, **kwargs))
        return self._shared_targets[0]

    @contextmanager
    def _sharing_targets(self) -> Iterator[None]:
        """Let all calls of the host's loss within use the targets of the first."""
        self._shared_targets = []
        try:
            yield
        finally:
            self._shared_targets = None

    def loss(self, x: Sequence[Tensor], batch_data_samples: SampleList) -> Losses:
        """Losses of a batch in the present stage; labelled and unlabelled images may be mixed.

        Args:
            x (Sequence[Tensor]): (B, C, H, W) of each level.
            batch_data_samples (list[DetDataSample]): ``gt_instances`` of labelled images, and
                ``labeled`` in the meta information.

        Returns:
            dict: Those of the host, and ``loss_img_cls`` for labelled images; ``loss_dis_min`` and
            ``loss_img_cls_pseudo`` or ``loss_dis_max`` for unlabelled ones.

        Raises:
            ValueError: There is an unlabelled image in stage ``label``.
        """
        parts: dict[bool, list[int]] = {True: [], False: []}
        for i, sample in enumerate(batch_data_samples):
            parts[bool(sample.metainfo.get("labeled", True))].append(i)
        if self.stage == "label" and parts[False]:
            path = batch_data_samples[parts[False][0]].metainfo.get("img_path", parts[False][0])
            raise ValueError(
                f"Stage 'label' learns from labelled images only, but image {path} has "
                "labeled=False. Give this phase labelled images, or set the stage to 'min' or "
                "'max'."
            )
        needs_mil = self.stage != "max" or parts[False] or self.switches.img_cls_in_max
        outputs = HeadOutputs(
            self(x),
            self.branch_scores(x, SECOND),
            self.branch_scores(x, MIL) if needs_mil else [],
        )
        losses: Losses = {}
        for labeled, part_loss in ((True, self._labeled_loss), (False, self._unlabeled_loss)):
            images = parts[labeled]
            if images:
                samples = [batch_data_samples[i] for i in images]
                losses.update(part_loss(outputs.take(images), samples))
        return losses

    def _flat(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels (B, A, K) of a classifier's maps."""
        return [flatten_level(level, self.cls_out_channels) for level in maps]

    def _instance_scores(
        self, logits_1: list[Tensor], logits_2: list[Tensor], mil: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return the instance scores (B, A, K) of each level."""
        return instance_scores(self._flat(mil), logits_1, logits_2, weight=self.switches.mil_weight)

    def _image_class_loss(self, instances: list[Tensor], targets: Tensor) -> Tensor:
        """Return the loss of images whose classes are known or guessed."""
        scores = image_class_scores(instances, level_reduce=self.switches.mil_level_reduce)
        return image_class_loss(scores, targets, class_reduce=self.switches.img_cls_reduce)

    def _labeled_loss(self, outputs: HeadOutputs, samples: SampleList) -> Losses:
        """Detection losses of both classifiers and, where the stage has it, that of images."""
        instances, ignored, metas = unpack_gt_instances(samples)
        scores, *rest = outputs.first
        with self._sharing_targets():
            first, second = (
                self.loss_by_feat(s, *rest, instances, metas, ignored)
                for s in (scores, outputs.second)
            )
        losses: Losses = {}
        for name, value in first.items():
            summed = name == "loss_cls" and self.switches.det_cls_reduce == "sum"
            losses[name] = _combine(value, second[name], 1.0 if summed else 0.5)
        if self.stage != "max" or self.switches.img_cls_in_max:
            targets = image_class_targets([i.labels for i in instances], self.cls_out_channels)
            logits = self._flat(scores), self._flat(outputs.second)
            found = self._instance_scores(*logits, outputs.mil)
            losses["loss_img_cls"] = self._image_class_loss(found, targets)
        return losses

    def _unlabeled_loss(self, outputs: HeadOutputs, samples: SampleList) -> Losses:
        """Discrepancy of the classifiers, and the loss of images by the classes they find."""
        scores, *rest = outputs.first
        logits_1, logits_2 = self._flat(scores), self._flat(outputs.second)
        instances = self._instance_scores(logits_1, logits_2, outputs.mil)
        discrepancy = [
            self.dis_weight
            * discrepancy_loss(*level, goal=self.stage, sigmoid=self.use_sigmoid_cls)
            for level in zip(logits_1, logits_2, instances, strict=True)
        ]
        # Boxes have no loss here, nor has f_mil in ``max``. A gradient of zero leaves momentum and
        # weight decay at work, as in the official code, and other processes need not wait for one.
        discrepancy[0] = discrepancy[0] + sum(
            level.sum() * 0
            for maps in (*rest, outputs.mil)
            for level in maps
            if level.requires_grad
        )
        losses: Losses = {f"loss_dis_{self.stage}": discrepancy}
        if self.stage == "min":
            targets = pseudo_class_targets(logits_1, logits_2)
            # One image in which nothing was found leaves its whole batch out.
            trusted = targets.any(1).all()
            losses["loss_img_cls_pseudo"] = self._image_class_loss(instances, targets) * trusted
        return losses

    @torch.no_grad()
    def image_scores(
        self,
        feats: Sequence[Tensor],
        *,
        topk: int = 10000,
        power: float = 2,
        use_mil_weight: bool = False,
    ) -> Tensor:
        """Score images by the discrepancy of f_1 and f_2; the highest are to be labelled.

        Args:
            feats (Sequence[Tensor]): (B, C, H, W) of each level.
            topk (int): Anchors of an image that count, those with the highest discrepancy.
            power (float): 2 (official code) or 1 (paper).
            use_mil_weight (bool): Whether discrepancies are multiplied by the instance scores
                (paper) or not (official code).

        Returns:
            Tensor: (B,), without gradient.
        """
        logits_1 = self._flat(self.branch_scores(feats, ""))
        logits_2 = self._flat(self.branch_scores(feats, SECOND))
        weights = None
        if use_mil_weight:
            mil = self.branch_scores(feats, MIL)
            weights = self._instance_scores(logits_1, logits_2, mil)
        sigmoid = self.use_sigmoid_cls or self.switches.score_sigmoid
        return image_uncertainty(
            logits_1, logits_2, weights, topk=topk, power=power, sigmoid=sigmoid
        )


def _combine(
    first: Tensor | list[Tensor], second: Tensor | list[Tensor], factor: float
) -> Tensor | list[Tensor]:
    """Add two losses, or the values of two lists of losses, and multiply by a factor."""
    if isinstance(first, Tensor):
        return (first + second) * factor
    return [(a + b) * factor for a, b in zip(first, second, strict=True)]
