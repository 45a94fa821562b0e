"""The loop around any mmdet detector: train, validate, select, label, and again."""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmext.engine import ConfigError, seed_generators
from mmext.registry import ACQUISITIONS, LOOPS

from .campaign import Campaign
from .data import PoolSource, PoolView, build_loader, epoch_of
from .phases import (
    build_optimizer,
    choose_parameters,
    count_steps,
    read_phases,
    set_stage,
    unwrap,
    wrap_again,
)
from .pool import POOL_FILE, Pool
from .scoring import Scoring, select_images

_STATE = "active_learning"


@dataclass(frozen=True)
class Position:
    """Where a campaign is; everything before has been done.

    Attributes:
        cycle: Number of the cycle, from 0.
        phase: Number of the phase in it.
        epoch: Epochs of the phase that are done.
        batch: Iterations of the epoch that are done.
        seconds: How long the cycle has taken so far.
    """

    cycle: int = 0
    phase: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0

    @property
    def in_cycle(self) -> bool:
        """Whether the training of the cycle has begun."""
        return (self.phase, self.epoch, self.batch) != (0, 0, 0)


@LOOPS.register_module()
class ActiveLearningLoop(BaseLoop):
    """Active learning as one training: for ``train_cfg`` of any mmdet config.

    In each cycle the model learns from the labelled images in the given phases and is validated;
    then the acquisition selects what is labelled next. ``train_dataloader.dataset`` is the whole
    pool. The state is in the checkpoints (cycle, phase, position, sets of images) and in
    ``pool.json``, so ``--resume`` goes on at any iteration and ends with the same sets and figures.
    Iterations and epochs are counted over the whole campaign, and so is the time that is left.

    Args:
        runner: The runner.
        dataloader: ``train_dataloader``.
        cycles: How often is trained. Between two cycles ``budget.step`` images are labelled.
        budget: ``initial``: labelled images of the first cycle, drawn at random; ``step``: how
            many are added for each further one.
        phases: The training of a cycle, see :class:`~mmext.active_learning.phases.Phase`.
        acquisition: An entry of ``ACQUISITIONS``.
        oracle: True: the annotations of the data set are the labels, as in a simulation. False:
            after each selection the loop writes what is to be labelled and stops;
            ``tools/al_import.py`` takes the labels in.
        reinit: Whether each cycle begins with the initial weights; False: with those of the last.
        unlabeled_per_labeled: Size of the unlabelled set of a cycle's training, drawn anew in each.
        scoring: See :class:`~mmext.active_learning.scoring.Scoring`.

    Raises:
        ConfigError: The settings do not go together, or the annotations of an image have changed
            since it was labelled.
        ValueError: The work directory holds another campaign.

    Source: MI-AOD (Yuan et al., arXiv 2104.02324), section 3 and the official code: initial
    weights in each cycle, fresh optimisers in each phase, as many unlabelled images as labelled.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping,
        *,
        cycles: int,
        budget: Mapping[str, int],
        phases: Sequence[Mapping],
        acquisition: Mapping[str, Any],
        oracle: bool = True,
        reinit: bool = True,
        unlabeled_per_labeled: float = 1.0,
        scoring: Mapping[str, Any] = {},
    ) -> None:
        self._runner = runner
        self._loader_cfg = dict(dataloader)
        self.phases = read_phases(phases)
        self.cycles, self.step = cycles, budget["step"]
        self.reinit = reinit
        self.unlabeled_per_labeled = unlabeled_per_labeled
        self.scoring = Scoring(**scoring)
        self.acquisition = ACQUISITIONS.build(acquisition)
        dataset = DATASETS.build(copy.deepcopy(dataloader["dataset"]))
        dataset.full_init()
        self.source = PoolSource(dataset)
        model = runner.cfg.model
        self.campaign = Campaign(
            Path(runner.work_dir),
            self.source,
            seed=runner.seed,
            # Not the number of cycles: it may be raised to go on.
            recipe=dict(
                acquisition=acquisition,
                phases=phases,
                budget=budget,
                reinit=reinit,
                unlabeled_per_labeled=unlabeled_per_labeled,
                scoring=scoring,
                model=model.get("bbox_head", model)["type"],
            ),
            oracle=oracle,
            resume=runner._resume,
        )
        self.campaign.check_budget(cycles)
        self.position = Position()
        self.val_begin = self.val_interval = 1  # in epochs, for hooks that ask
        self._epoch = self._iter = 0
        self._max_epochs = cycles * sum(phase.epochs for phase in self.phases)
        self._batches = cache(self._count_batches)
        self._entered: tuple[int, int] | None = None
        self._begin = time.perf_counter()
        named = unwrap(runner.model).named_parameters()
        self._learning = {name for name, parameter in named if parameter.requires_grad}
        runner.register_hook(_StateHook(self))
        super().__init__(runner, self._loader(self.pool.labeled(), self.phases[0].repeat))

    @property
    def pool(self) -> Pool:
        """What is labelled."""
        return self.campaign.pool

    @property
    def epoch(self) -> int:
        """Epochs of the campaign that are done."""
        return self._epoch

    @property
    def iter(self) -> int:
        """Iterations of the campaign that are done."""
        return self._iter

    @property
    def max_epochs(self) -> int:
        """Epochs of the whole campaign."""
        return self._max_epochs

    @property
    def max_iters(self) -> int:
        """Iterations of the whole campaign, with the sizes of later sets as planned."""
        added = [len(images) for images in self.pool.cycles][: self.cycles]
        added += [self.step] * (self.cycles - len(added))
        sizes = [sum(added[: cycle + 1]) for cycle in range(self.cycles)]
        phases = self.phases
        return sum(p.epochs * self._batches(size, p.repeat) for size in sizes for p in phases)

    def run(self) -> nn.Module:
        """Run what is not done yet.

        Returns:
            The model of the last cycle.
        """
        self._refuse_averaging()
        self.runner.call_hook("before_train")
        if self.position == Position():
            self.pool.rewind(0)  # also if it was begun, and no checkpoint is left
            self.campaign.save_initial(unwrap(self.runner.model))
        while self.position.cycle < self.cycles:
            if len(self.pool.cycles) == self.position.cycle:
                self._select()
            if not self.campaign.has_labels():
                break
            self._run_cycle()
        self.runner.call_hook("after_train")
        return self.runner.model

    def state(self) -> dict:
        """Return what a checkpoint holds of the campaign."""
        pool = self.pool
        sets = dict(cycles=pool.cycles, hashes=pool.hashes, history=pool.history, seed=pool.seed)
        return dict(position=asdict(self.position), **sets)

    def resume(self, state: Mapping) -> None:
        """Go to where a checkpoint was saved; called before its optimiser is loaded.

        Args:
            state: What :meth:`state` returned.

        Raises:
            ValueError: The checkpoint belongs to another campaign.
        """
        self.position = Position(**state["position"])
        kept = [list(images) for images in state["cycles"]]
        known = self.pool.cycles[: len(kept)]
        if state["seed"] != self.pool.seed or known != kept[: len(known)]:
            raise ValueError(
                f"the checkpoint belongs to another campaign than {self.campaign.folder}/"
                f"{POOL_FILE}: their labelled images differ. Resume with a checkpoint of this work "
                "directory."
            )
        self.pool.rewind(self.position.cycle)
        for images in kept[len(known) :]:  # pool.json has been lost
            self.pool.add(images)
            self.pool.hashes, self.pool.history = dict(state["hashes"]), list(state["history"])
        if self.position.in_cycle:
            self._enter_phase()

    def _run_cycle(self) -> None:
        self._begin = time.perf_counter() - self.position.seconds
        if not self.position.in_cycle:
            self._begin_cycle()
        while self.position.phase < len(self.phases):
            number = self.position.phase
            if self._entered != (self.position.cycle, number):
                self._enter_phase()
            phase, batches = self.phases[number], len(self.dataloader)
            done = self.position.epoch * batches + self.position.batch
            count_steps(self.runner, phase, batches, done)
            while self.position.epoch < phase.epochs:
                self._run_epoch()
            self._move(phase=number + 1, epoch=0, batch=0)
        self._finish_cycle()

    def _begin_cycle(self) -> None:
        cycle, pool = self.position.cycle, self.pool
        self.campaign.accept_labels()
        self.campaign.save()
        if cycle > 0 and self.reinit:
            self.campaign.load_initial(unwrap(self.runner.model))
        print_log(
            f"cycle {cycle + 1}/{self.cycles}: {len(pool.labeled())} of {len(pool.images)} images "
            "are labelled",
            logger="current",
        )

    def _enter_phase(self) -> None:
        cycle, number = self.position.cycle, self.position.phase
        phase, runner, labeled = self.phases[number], self.runner, self.pool.labeled()
        set_stage(unwrap(runner.model), phase)
        choose_parameters(unwrap(runner.model), phase, self._learning)
        wrap_again(runner, phase)
        self.dataloader = self._loader(labeled, phase.repeat)
        self.unlabeled_dataloader, unlabeled = None, []
        if phase.alternates:
            size = min(round(len(labeled) * self.unlabeled_per_labeled), len(self.pool.images))
            unlabeled = self.pool.draw_unlabeled(size)
            self.unlabeled_dataloader = self._loader(unlabeled, phase.repeat, labeled=False)
        build_optimizer(runner, phase, len(self.dataloader))
        runner.message_hub.update_info("max_iters", self.max_iters)
        self._entered = cycle, number
        print_log(
            f"cycle {cycle + 1}/{self.cycles}, phase {number + 1}/{len(self.phases)} "
            f"{phase.name!r}: {phase.epochs} x {len(self.dataloader)} iterations with "
            f"{len(labeled)} labelled and {len(unlabeled)} unlabelled images",
            logger="current",
        )

    def _run_epoch(self) -> None:
        runner, first = self.runner, self.position.batch
        runner.call_hook("before_train_epoch")
        runner.model.train()
        unlabeled = self._unlabeled_batches(first)
        for index, batch in enumerate(epoch_of(self.dataloader, self._epoch, first), first):
            runner.call_hook("before_train_iter", batch_idx=index, data_batch=batch)
            outputs = self._step(batch, 0)
            if self.unlabeled_dataloader is not None:
                others = self._step(next(unlabeled), 1)
                outputs.update({f"unlabeled_{name}": value for name, value in others.items()})
            # A checkpoint that a hook saves now begins after this iteration.
            self._move(batch=index + 1)
            runner.call_hook("after_train_iter", batch_idx=index, data_batch=batch, outputs=outputs)
            self._iter += 1
        self._move(epoch=self.position.epoch + 1, batch=0)
        runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _step(self, batch: dict, number: int) -> dict:
        """Make the optimiser step ``number`` of the iteration."""
        # Not from where the generators happen to be: loading draws, too, and not after a resume
        # what it drew before.
        seed_generators((self.pool.seed, get_rank(), self._iter, number))
        return self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)

    def _unlabeled_batches(self, done: int) -> Iterator[dict]:
        """Yield unlabelled batches without end, of which ``done`` have been in this epoch."""
        first, skip = divmod(done, len(self.unlabeled_dataloader))
        for turn in count(first):
            epoch = self._epoch + turn * self._max_epochs
            yield from epoch_of(self.unlabeled_dataloader, epoch, skip)
            skip = 0

    def _finish_cycle(self) -> None:
        cycle, labeled = self.position.cycle, len(self.pool.labeled())
        validation = self.runner.val_loop
        metrics = validation.run() if validation is not None else {}
        seconds = time.perf_counter() - self._begin
        sizes = dict(labeled=labeled, boxes=self.campaign.count_boxes())
        figures = dict(cycle=cycle, **sizes, seconds=seconds, metrics=_plain(metrics))
        self.pool.history.append(figures)
        self.campaign.save()
        self.position = Position(cycle + 1)
        # Without the optimiser: the next phase begins with its own.
        parts = dict(save_optimizer=False, save_param_scheduler=False)
        meta = dict(epoch=self._epoch, iter=self._iter)
        folder, name = str(self.campaign.folder), f"cycle_{cycle}.pth"
        self.runner.save_checkpoint(folder, name, meta=meta, **parts)
        self.campaign.point_to(name)

    def _select(self) -> None:
        """Label what the model that has been trained last would learn most from."""
        begin = time.perf_counter()
        chosen = select_images(
            self.runner, self.acquisition, self.source, self.pool, self.step, self.scoring
        )
        self.pool.add(chosen.images)
        seconds = time.perf_counter() - begin
        self.pool.history[-1].update(scores=dict(chosen.scores), selection_seconds=seconds)
        self.campaign.save()
        print_log(f"selected {len(chosen.images)} images in {seconds:.1f} s", logger="current")

    def _loader(self, ids: Sequence[str], repeat: int, labeled: bool = True) -> DataLoader:
        view = PoolView(self.source, ids, seed=self.pool.seed, labeled=labeled, repeat=repeat)
        return build_loader(self._runner, self._loader_cfg, view)

    def _count_batches(self, size: int, repeat: int) -> int:
        return len(self._loader(self.pool.images[:size], repeat))

    def _move(self, **where: int) -> None:
        seconds = time.perf_counter() - self._begin
        self.position = Position(**{**asdict(self.position), **where, "seconds": seconds})

    def _refuse_averaging(self) -> None:
        if self.reinit and any(isinstance(hook, EMAHook) for hook in self.runner.hooks):
            raise ConfigError(
                "custom_hooks: EMAHook averages across cycles, and each begins with the initial "
                "weights. Remove it, or set train_cfg.reinit=False."
            )


class _StateHook(Hook):
    """Puts the state of the campaign into checkpoints and takes it out again."""

    priority = "VERY_HIGH"

    def __init__(self, loop: ActiveLearningLoop) -> None:
        self.loop = loop

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint[_STATE] = self.loop.state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:  # weights to begin with, whatever they come from
            return
        if _STATE not in checkpoint:
            raise ValueError(
                "the checkpoint to resume from holds no state of a campaign. Expected one that "
                "mmext.ActiveLearningLoop saved; to begin with its weights, set load_from only."
            )
        self.loop.resume(checkpoint[_STATE])


def _plain(metrics: Mapping) -> dict[str, float]:
    """Return the figures among the metrics as json holds them."""
    numbers = {k: v for k, v in metrics.items() if getattr(v, "size", 1) == 1}
    return {k: float(v) for k, v in numbers.items() if hasattr(v, "__float__")}
