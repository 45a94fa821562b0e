"""What is trained in a phase of a cycle, with which images, stage and optimiser."""

import copy
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmext.engine import ConfigError

DATA = ("labeled", "labeled+unlabeled")


@dataclass(frozen=True)
class Phase:
    """A part of the training of a cycle, with an optimiser and schedules of its own.

    Attributes:
        name: For logs.
        epochs: Epochs over the labelled images.
        repeat: How often each image is in an epoch.
        stage: What ``set_stage`` of the model's parts is called with; None: it is not called.
        train: Patterns of the names of the parameters that learn, as in file names; those that
            begin with ``!`` are taken out again. What the model itself freezes stays frozen.
        data: ``'labeled'``, or ``'labeled+unlabeled'``: an optimiser step with a labelled batch,
            then one with an unlabelled batch, in each iteration.
        optim_wrapper: What changes in the config's ``optim_wrapper``.
        param_scheduler: Instead of the config's; None: the config's.
    """

    name: str
    epochs: int
    repeat: int = 1
    stage: str | None = None
    train: Sequence[str] = ("*",)
    data: str = "labeled"
    optim_wrapper: Mapping[str, Any] = field(default_factory=dict)
    param_scheduler: Sequence[Mapping] | None = None

    @property
    def alternates(self) -> bool:
        """Whether unlabelled images are used, too."""
        return self.data == DATA[1]


def read_phases(phases: Sequence[Mapping]) -> list[Phase]:
    """Read the phases of a config.

    Raises:
        ConfigError: A field is unknown, missing or makes no sense.
    """
    if not phases:
        raise ConfigError("train_cfg.phases is empty. Expected dict(name='train', epochs=12).")
    known = set(Phase.__dataclass_fields__)
    found = []
    for index, phase in enumerate(phases):
        key = f"train_cfg.phases[{index}]"
        if not {"name", "epochs"} <= set(phase) <= known:
            raise ConfigError(
                f"{key} has the fields {sorted(phase)}. Expected name and epochs, and if wanted "
                f"{sorted(known - {'name', 'epochs'})}."
            )
        read = Phase(**phase)
        if read.epochs < 1 or read.repeat < 1:
            raise ConfigError(f"{key}: epochs and repeat have to be 1 or more.")
        if read.data not in DATA:
            raise ConfigError(f"{key}.data is {read.data!r}. Expected one of {DATA}.")
        if read.alternates and read.stage is None:
            raise ConfigError(
                f"{key} learns from unlabelled images without a stage. A head that knows nothing "
                "of them would take every object there for background: set stage, with a head that "
                "has set_stage, or data='labeled'."
            )
        found.append(read)
    return found


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model without the wrapper for several processes."""
    return model.module if is_model_wrapper(model) else model


def set_stage(model: nn.Module, phase: Phase) -> None:
    """Tell every part of the model that asks for it which stage begins.

    Raises:
        ConfigError: No part asks.
    """
    if phase.stage is None:
        return
    parts = [part for part in model.modules() if hasattr(part, "set_stage")]
    if not parts:
        raise ConfigError(
            f"phase {phase.name!r} has stage={phase.stage!r}, but no part of the "
            f"{type(model).__name__} has set_stage. Use a head that has stages, such as "
            "mmext.MIAODRetinaHead, or remove stage."
        )
    for part in parts:
        part.set_stage(phase.stage)


def choose_parameters(model: nn.Module, phase: Phase, learning: set[str]) -> None:
    """Let the parameters of a phase learn and no others, and forget all gradients.

    Args:
        model: The model, unwrapped.
        phase: The phase.
        learning: Names of the parameters that the model does not freeze itself.

    Raises:
        ConfigError: A pattern fits no name, or nothing is left to learn.
    """
    chosen: set[str] = set()
    names = [name for name, _ in model.named_parameters()]
    for pattern in phase.train:
        fitting = set(fnmatch.filter(names, pattern.removeprefix("!")))
        if not fitting:
            raise ConfigError(
                f"phase {phase.name!r}: no parameter is named like train pattern {pattern!r}. The "
                f"names begin with {sorted({name.split('.')[0] for name in names})}."
            )
        chosen = chosen - fitting if pattern.startswith("!") else chosen | fitting
    if not chosen & learning:
        raise ConfigError(f"phase {phase.name!r}: train={list(phase.train)} lets nothing learn.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen & learning)
        # A gradient that is left over would still be moved by weight decay and momentum.
        parameter.grad = None


def wrap_again(runner: Runner, phase: Phase) -> None:
    """Wrap the model anew: DistributedDataParallel remembers which parameters learn.

    Unlabelled batches leave parts of a head without gradient, so that these are looked for.
    """
    model = unwrap(runner.model)
    if model is runner.model:
        return
    wrapper = runner.cfg.get("model_wrapper_cfg")
    if wrapper is None and phase.alternates:
        wrapper = dict(type="MMDistributedDataParallel", find_unused_parameters=True)
        wrapper["broadcast_buffers"] = False
    runner.model = None  # the old wrapper lets go of its gradient hooks first
    runner.model = runner.wrap_model(copy.deepcopy(wrapper), model)


def build_optimizer(runner: Runner, phase: Phase, batches: int) -> None:
    """Give the runner an optimiser and schedules that begin anew.

    Args:
        runner: Its ``optim_wrapper`` and ``param_schedulers`` are replaced.
        phase: The phase.
        batches: Iterations in an epoch.
    """
    merged = Config(dict(optim_wrapper=copy.deepcopy(runner.cfg.optim_wrapper)))
    merged.merge_from_dict(dict(optim_wrapper=dict(phase.optim_wrapper)))
    runner.optim_wrapper = runner.build_optim_wrapper(merged.optim_wrapper)
    schedules = phase.param_scheduler
    if schedules is None:
        schedules = runner.cfg.get("param_scheduler")
    runner.param_schedulers = None  # scale_lr wants none that are built
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    if schedules is None:
        return
    schedules = [schedules] if isinstance(schedules, Mapping) else schedules
    ended = [copy.deepcopy(dict(schedule)) for schedule in schedules]
    for schedule in ended:
        # mmengine's default would be the end of the whole campaign.
        last = phase.epochs if schedule.get("by_epoch", True) else phase.epochs * batches
        schedule.setdefault("end", last)
    runner.param_schedulers = runner.build_param_scheduler(ended)


def count_steps(runner: Runner, phase: Phase, batches: int, done: int) -> None:
    """Tell the optimiser wrapper how many of the phase's steps are done, for accumulation.

    Args:
        runner: The runner.
        phase: The phase.
        batches: Iterations in an epoch.
        done: Iterations of the phase that are done.
    """
    steps = 2 if phase.alternates else 1
    runner.optim_wrapper.initialize_count_status(
        runner.model, done * steps, phase.epochs * batches * steps
    )
