"""Training steps with several optimisers and several backward passes each."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from operator import attrgetter
from typing import Any

import torch
from mmengine.dist import all_reduce, all_reduce_params, get_world_size
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from torch import Tensor, nn

from mmext.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MultiOptimWrapperConstructor:
    """Builds an optimiser wrapper for each of several parts of a model.

    .. code-block:: python

        optim_wrapper = dict(
            constructor='mmext.MultiOptimWrapperConstructor',
            segmentor=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=2.5e-4)),
            discriminator=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4)))

    Args:
        optim_wrapper_cfg: For the name of a part (with dots for parts of parts) the config of its
            wrapper, which may have a ``constructor`` and ``paramwise_cfg`` of its own.
        paramwise_cfg: Must be None: it belongs into the config of a part.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        configs = {k: v for k, v in optim_wrapper_cfg.items() if k not in ("type", "constructor")}
        wrong = [name for name, cfg in configs.items() if not isinstance(cfg, Mapping)]
        if paramwise_cfg is not None or wrong or not configs:
            raise ValueError(
                f"optim_wrapper has {['paramwise_cfg'] if paramwise_cfg else wrong or 'no part'}. "
                "Expected a dict for each part of the model that learns, such as "
                "segmentor=dict(optimizer=...); paramwise_cfg, clip_grad and accumulative_counts "
                "belong into these."
            )
        self.configs = configs

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """Build the wrappers.

        Args:
            model: The model, or its wrapper for several processes.

        Raises:
            ValueError: The model has no part of a name.
        """
        model = getattr(model, "module", model)
        wrappers = {}
        for name, config in self.configs.items():
            try:
                part = attrgetter(name)(model)
            except AttributeError as error:
                parts = [child for child, _ in model.named_children()]
                raise ValueError(
                    f"optim_wrapper.{name}: {type(model).__name__} has no part of that name. "
                    f"Expected names among {parts}."
                ) from error
            if part is None:
                raise ValueError(
                    f"optim_wrapper.{name}: model.{name} is None, there is nothing to optimise. "
                    f"Remove optim_wrapper.{name}."
                )
            wrappers[name] = build_optim_wrapper(part, _without_duplicates(part, config))
        return CountedOptimWrapperDict(**wrappers)


class CountedOptimWrapperDict(OptimWrapperDict):
    """mmengine's, whose optimisers know after resuming how many iterations there were.

    mmengine leaves their counts at 0, so that what depends on them (gradient accumulation, phases
    of a training) would begin anew.
    """

    def initialize_count_status(self, model: nn.Module, cur_iter: int, max_iters: int) -> None:
        """Set the counts; the runner calls this before it trains.

        Args:
            model: The model.
            cur_iter: Number of iterations before this training, or part of a training.
            max_iters: Number of iterations at its end.
        """
        for wrapper in self.values():
            wrapper.initialize_count_status(model, cur_iter, max_iters)


def _without_duplicates(part: nn.Module, config: Mapping) -> Mapping:
    """Let a config with rules for parameters list those once that several modules share."""
    entries = sum(1 for _ in part.named_parameters(remove_duplicate=False))
    if "paramwise_cfg" not in config or entries == sum(1 for _ in part.parameters()):
        return config
    return {**config, "paramwise_cfg": {**config["paramwise_cfg"], "bypass_duplicate": True}}


def learning(module: nn.Module) -> list[nn.Parameter]:
    """Return a module's parameters that learn."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep a module's parameters out of the graphs that are built inside of the block."""
    parameters = learning(module)
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class IterationPasses:
    """The backward passes of one iteration through one optimiser wrapper.

    mmengine's wrapper counts each backward pass as an iteration of its own. Here all passes of an
    iteration count as one, so that gradient accumulation means what it says; on several processes
    gradients are averaged once, after the last pass.

    Args:
        wrapper: The optimiser wrapper, of any precision.
    """

    def __init__(self, wrapper: OptimWrapper) -> None:
        self.wrapper = wrapper
        self._count = wrapper.inner_count

    @property
    def iteration(self) -> int:
        """How many iterations came before this one, also before a resumed training."""
        return self._count

    @contextlib.contextmanager
    def context(self, module: nn.Module) -> Iterator[None]:
        """Enter the precision that the wrapper asks for."""
        with self.wrapper.optim_context(module):
            yield

    def backward(
        self, loss: Tensor, parameters: Sequence[Tensor] | None = None, retain_graph: bool = False
    ) -> None:
        """Add the gradients of a loss.

        Args:
            loss: A scalar.
            parameters: Which get gradients; None: all those that the loss depends on.
            retain_graph: Whether another loss shares a part of the graph.
        """
        scaled = self.wrapper.scale_loss(loss)
        self.wrapper.backward(scaled, inputs=parameters, retain_graph=retain_graph)
        # Set back, or the next pass would look like the next iteration. There is no public way.
        self.wrapper._inner_count = self._count

    def finish(self) -> bool:
        """Step, unless gradients of further iterations are to be accumulated.

        A part that has no gradient at all, since it does not learn yet, is left as it is.

        Returns:
            Whether it was time to step.
        """
        self.wrapper._inner_count = self._count + 1
        steps = self.wrapper.should_update()
        if steps:
            average_gradients(self.wrapper)
            if any(parameter.grad is not None for parameter in _parameters(self.wrapper)):
                self.wrapper.step()
            else:
                # Changes nothing. The wrapper of mixed precision would raise an error, and
                # schedules warn of optimisers that never stepped.
                self.wrapper.optimizer.step()
            self.wrapper.zero_grad()
        return steps


def _parameters(wrapper: OptimWrapper) -> list[Tensor]:
    """Return what an optimiser updates, each parameter once."""
    groups = wrapper.optimizer.param_groups
    return list({id(p): p for group in groups for p in group["params"]}.values())


def average_gradients(wrapper: OptimWrapper) -> None:
    """Average the gradients of an optimiser over all processes; nothing to do for a single one.

    A parameter without a gradient in this process takes part with zeros if another process has
    one. Those that have none anywhere are left alone: an optimiser does not decay them either.

    Args:
        wrapper: The optimiser wrapper.
    """
    if get_world_size() == 1:
        return
    parameters = _parameters(wrapper)
    device = parameters[0].device
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int, device=device)
    all_reduce(used, "max")
    chosen = list(compress(parameters, used.tolist()))
    if not chosen:
        return
    for parameter in chosen:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    all_reduce_params([parameter.grad for parameter in chosen], op="mean")


def wrapper_configs(optim_wrapper: Mapping[str, Any]) -> list[Any]:
    """Return the configs of the single wrappers in a config of one or several.

    Args:
        optim_wrapper: ``cfg.optim_wrapper``.
    """
    if "optimizer" in optim_wrapper:
        return [optim_wrapper]
    return [part for part in optim_wrapper.values() if isinstance(part, Mapping)]
