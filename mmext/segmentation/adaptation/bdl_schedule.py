"""BDL's alternation between translation and segmentation, for any config that trains a ``BDL``."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.utils import ProgressBar

from mmext.engine import join_processes
from mmext.registry import SCHEDULES

from ..pseudo_labels import PseudoLabelRule
from .schedule import Action, Schedule, Stage, bdl_stages
from .stage_actions import print_figures, recipe_of, train_stage, write_stage_labels
from .stage_configs import domain_names, segmentor_stage_config, translator_stage_config
from .translating import SourceTranslator


@SCHEDULES.register_module()
class BDLSchedule:
    """Bidirectional learning (Li et al., arXiv 1904.10620): the whole alternation as one training.

    The config that this stands in, as ``schedule``, trains a :class:`BDL` from one source to one
    target; here stands what is different in its stages. Without translation there may be several
    sources and targets, and the model may be another one that learns from pseudo labels.
    ``tools/train.py`` runs, in the work directory:

    1. ``k1-translator``: train a translator between source and target,
    2. ``k1-translate``: translate the images of the source,
    3. ``k1-i0-segmentor``: train the segmentor on these, adversarially,
    4. ``k1-i1-labels``, ``k1-i1-segmentor``: write pseudo labels of the target and train the
       segmentor with them, from the beginning; ``k1-i2-...`` the same again,
    5. ``k2-translator``: train a translator that keeps what this segmentor sees, and so on.

    Args:
        outer: K, how many translators are trained.
        inner: N, how often pseudo labels are written for each of them.
        translator: What the config of a translator's training changes in this one, as a file
            changes its ``_base_``: ``model=dict(_delete_=True, type='mmext.ImageTranslator',
            ...)`` and its training. ``semantic`` in the model needs no ``segmentor``: from the
            second round on it is the one that was trained last, in the first there is none. Two
            keys are the schedule's own: ``pipeline``, what images of both domains go through in
            training, and ``scale``, width and height at which the source is translated (None: its
            own). None: no translation.
        adversarial: What the segmentor's training without pseudo labels changes.
        self_training: What its training with pseudo labels changes.
        pseudo_labels: Arguments of
            :class:`~mmext.segmentation.pseudo_labels.PseudoLabelRule`.

    Source: BDL, algorithm 1: K = 2, N = 2, each segmentor from the initial weights. The first
    translator goes without the semantic term; the authors found both ways alike.
    """

    def __init__(
        self,
        *,
        outer: int = 2,
        inner: int = 2,
        translator: Mapping[str, Any] | None = None,
        adversarial: Mapping[str, Any] = {},
        self_training: Mapping[str, Any] = {},
        pseudo_labels: Mapping[str, Any] = {},
    ) -> None:
        self.translates = translator is not None
        self.stages = bdl_stages(outer, inner, translation=self.translates)
        changes = dict(translator or {})
        self.pipeline: Sequence[dict] = changes.pop("pipeline", ())
        self.scale = changes.pop("scale", None)
        if translator is not None and not self.pipeline:
            raise ValueError(
                "schedule.translator has no pipeline. Expected the transforms that images of both "
                "domains go through when a translator is trained, to a crop of one size."
            )
        self.translator = changes
        self.adversarial = adversarial
        self.self_training = self_training
        self.rule = PseudoLabelRule(**pseudo_labels)

    def run(self, cfg: Config, only: str | None = None) -> Path:
        """Run what is not done yet.

        Args:
            cfg: The config that the schedule stands in. With ``resume``, a training that was
                stopped goes on from its newest checkpoint, otherwise it begins anew; images and
                labels that are written are kept in both cases.
            only: Name of a stage to run alone.

        Returns:
            Result of the last stage: the checkpoint of the adapted model.

        Raises:
            ValueError: The data set has no target, or with a translator not one of each.
        """
        join_processes(cfg.launcher, cfg.get("env_cfg", {}))
        if self.translates:
            domain_names(cfg)
        elif not cfg.train_dataloader.dataset.get("targets"):
            raise ValueError(
                "train_dataloader.dataset has no targets. A mmext.BDLSchedule expects a "
                "mmext.MultiDomainDataset with images to write pseudo labels for."
            )
        schedule = self._schedule(cfg)
        result = schedule.run(only)
        if is_main_process():
            print_figures(schedule)
        return result

    def _schedule(self, cfg: Config) -> Schedule:
        actions = _Actions(self, cfg)
        by_kind: dict[str, Action] = {
            "translator": actions.train_translator,
            "translate": actions.translate,
            "segmentor": actions.train_segmentor,
            "labels": actions.write_labels,
        }
        return Schedule(self.stages, by_kind, cfg.work_dir, recipe_of(cfg))


class _Actions:
    """What the stages do; each can be called again after it was stopped."""

    def __init__(self, schedule: BDLSchedule, cfg: Config) -> None:
        self.schedule = schedule
        self.cfg = cfg

    def train_translator(
        self, stage: Stage, folder: Path, inputs: Mapping[str, Path], begun: bool
    ) -> Path:
        cfg = self._translator_cfg(inputs.get("segmentor"))
        return self._train(cfg, stage, folder, begun)

    def train_segmentor(
        self, stage: Stage, folder: Path, inputs: Mapping[str, Path], begun: bool
    ) -> Path:
        return self._train(self._segmentor_cfg(inputs), stage, folder, begun)

    def translate(
        self, stage: Stage, folder: Path, inputs: Mapping[str, Path], begun: bool
    ) -> Path:
        source, _ = domain_names(self.cfg)
        translator = SourceTranslator(
            self._translator_cfg(None),
            inputs["translator"],
            self.cfg.train_dataloader.dataset.sources[source],
            scale=self.schedule.scale,
        )
        bar = ProgressBar(len(translator), file=sys.stderr)
        return translator.write(folder / "images", bar.update)

    def write_labels(
        self, stage: Stage, folder: Path, inputs: Mapping[str, Path], begun: bool
    ) -> Path:
        return write_stage_labels(self.cfg, inputs["segmentor"], folder, self.schedule.rule)

    def _translator_cfg(self, segmentor: Path | None) -> Config:
        changes, pipeline = self.schedule.translator, self.schedule.pipeline
        return translator_stage_config(self.cfg, changes, pipeline, segmentor)

    def _segmentor_cfg(self, inputs: Mapping[str, Path]) -> Config:
        labels = inputs.get("labels")
        changes = self.schedule.adversarial if labels is None else self.schedule.self_training
        return segmentor_stage_config(self.cfg, changes, inputs.get("translated"), labels)

    def _train(self, cfg: Config, stage: Stage, folder: Path, begun: bool) -> Path:
        return train_stage(cfg, stage, folder, resume=begun and bool(self.cfg.get("resume")))
