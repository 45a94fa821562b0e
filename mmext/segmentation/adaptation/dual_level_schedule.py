"""Dual-level domain mixing as one training: teachers, a student, pseudo labels, and again."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process

from mmext.engine import join_processes
from mmext.registry import SCHEDULES

from ..pseudo_labels import PseudoLabelRule
from .schedule import Schedule, Stage
from .stage_actions import print_figures, recipe_of, train_stage, write_stage_labels
from .stage_configs import changed, pseudo_labelled

LEVELS = {"region": "mmext.RegionMixing", "sample": "mmext.BDL"}
"""What trains each of the teachers."""


@SCHEDULES.register_module()
class DualLevelSchedule:
    """Dual-level domain mixing (Chen et al., CVPR 2021): semi-supervised adaptation, in rounds.

    The config that this stands in, as ``schedule``, trains a :class:`TeacherDistillation` with the
    teachers ``region`` and ``sample``; its data set has two sources, one of which is the few
    labelled images of the target, and the unlabelled target. ``tools/train.py`` runs, in the work
    directory:

    1. ``r1-region``: train the region-level teacher, on images with a rectangle of one domain on
       the other (:class:`RegionMixing`),
    2. ``r1-sample``: train the sample-level teacher, on both domains side by side (:class:`BDL`),
    3. ``r1-student``: train the student, by both teachers on the unlabelled target and by the few
       labels,
    4. ``r2-labels``: write pseudo labels of the target by the student, and so on: from now on they
       belong to the labelled images of the target, each as often as any of these.

    Args:
        labelled_target: Name of the source that is the labelled images of the target.
        rounds: R, how many students are trained.
        region: What the training of the region-level teacher changes in the config.
        sample: What that of the sample-level teacher changes.
        student: What that of the student changes.
        pseudo_labels: Arguments of
            :class:`~mmext.segmentation.pseudo_labels.PseudoLabelRule`.

    Raises:
        ValueError: There is no round.

    Source: Chen et al., CVPR 2021, section 3: R = 4 for GTA5 and 3 for SYNTHIA, pseudo labels by
    BDL's rule. There the sample-level teacher learns from the sum of its two losses, here from
    their mean.
    """

    def __init__(
        self,
        *,
        labelled_target: str,
        rounds: int = 4,
        region: Mapping[str, Any] = {},
        sample: Mapping[str, Any] = {},
        student: Mapping[str, Any] = {},
        pseudo_labels: Mapping[str, Any] = {},
    ) -> None:
        self.labelled_target = labelled_target
        self.stages = dual_level_stages(rounds)
        self.changes = dict(region=region, sample=sample, student=student)
        self.rule = PseudoLabelRule(**pseudo_labels)

    def run(self, cfg: Config, only: str | None = None) -> Path:
        """Run what is not done yet.

        Args:
            cfg: The config that the schedule stands in. With ``resume``, a training that was
                stopped goes on from its newest checkpoint, otherwise it begins anew.
            only: Name of a stage to run alone.

        Returns:
            Result of the last stage: the checkpoint of the last student.

        Raises:
            ValueError: Model or data set are others than expected.
        """
        join_processes(cfg.launcher, cfg.get("env_cfg", {}))
        self._require_fit(cfg)

        def train(stage: Stage, folder: Path, inputs: Mapping[str, Path], begun: bool) -> Path:
            derived = self.stage_config(cfg, stage.kind, inputs)
            return train_stage(derived, stage, folder, resume=begun and bool(cfg.get("resume")))

        def label(stage: Stage, folder: Path, inputs: Mapping[str, Path], begun: bool) -> Path:
            return write_stage_labels(cfg, inputs["student"], folder, self.rule)

        actions = dict(region=train, sample=train, student=train, labels=label)
        schedule = Schedule(self.stages, actions, cfg.work_dir, recipe_of(cfg))
        result = schedule.run(only)
        if is_main_process():
            print_figures(schedule)
        return result

    def stage_config(self, cfg: Config, kind: str, inputs: Mapping[str, Path]) -> Config:
        """Return the config of a training.

        Args:
            cfg: The config of the whole schedule.
            kind: ``'region'``, ``'sample'`` or ``'student'``.
            inputs: Results that it takes: ``labels``, and for the student ``region`` and
                ``sample``.
        """
        derived = changed(cfg, {})
        dataset, model = derived.train_dataloader.dataset, derived.model
        if "labels" in inputs:
            images = [dataset.sources[self.labelled_target]]
            for name, target in dataset.targets.items():
                images.append(pseudo_labelled(target, inputs["labels"] / name))
            together = dict(type="ConcatDataset", datasets=images)
            dataset.sources[self.labelled_target] = together
        if kind == "student":
            dataset.sources = {self.labelled_target: dataset.sources[self.labelled_target]}
            for level in LEVELS:
                checkpoint = str(inputs[level])
                init = dict(type="Pretrained", checkpoint=checkpoint, prefix="segmentor")
                model.teachers[level].init_cfg = init
        else:
            dataset.targets = {}
            kept = {k: model[k] for k in ("data_preprocessor",) if k in model}
            derived.model = dict(type=LEVELS[kind], segmentor=model.teachers[kind], **kept)
        derived.merge_from_dict(copy.deepcopy(ConfigDict(self.changes[kind]).to_dict()))
        return derived

    def _require_fit(self, cfg: Config) -> None:
        model, dataset = cfg.model, cfg.train_dataloader.dataset
        teachers = list(model.get("teachers", {}))
        if model.type != "mmext.TeacherDistillation" or set(teachers) != set(LEVELS):
            raise ValueError(
                f"model.type is {model.type!r}, model.teachers are {teachers}. A "
                "mmext.DualLevelSchedule expects a mmext.TeacherDistillation with the teachers "
                f"{list(LEVELS)}."
            )
        sources, targets = (list(dataset.get(role, {})) for role in ("sources", "targets"))
        if len(sources) != 2 or self.labelled_target not in sources or not targets:
            raise ValueError(
                f"train_dataloader.dataset has the sources {sources} and the targets {targets}. "
                "Expected two sources, one of which is schedule.labelled_target="
                f"{self.labelled_target!r}, and a target."
            )


def dual_level_stages(rounds: int) -> list[Stage]:
    """Return the stages of dual-level domain mixing.

    Args:
        rounds: R, how many students are trained.

    Returns:
        Stages of the kinds ``'labels'`` (needs the last ``'student'``; not in the first round),
        ``'region'``, ``'sample'`` (need ``'labels'``, if there are some) and ``'student'`` (needs
        both and ``'labels'``).

    Raises:
        ValueError: There is no round.
    """
    if rounds < 1:
        raise ValueError(f"schedule.rounds is {rounds}. Expected 1 or more.")
    stages: list[Stage] = []
    for number in range(1, rounds + 1):
        labels: dict[str, str] = {}
        if number > 1:
            needs = dict(student=f"r{number - 1}-student")
            stages.append(Stage(f"r{number}-labels", "labels", needs))
            labels = dict(labels=f"r{number}-labels")
        levels = {level: f"r{number}-{level}" for level in LEVELS}
        stages += [Stage(name, level, labels) for level, name in levels.items()]
        stages.append(Stage(f"r{number}-student", "student", {**levels, **labels}))
    return stages
