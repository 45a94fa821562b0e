"""What the tasks share while running: runner, optimiser wrappers, checks, host packages."""

from .amp import CPUAmpOptimWrapper
from .data_parallel import AveragedDataParallel
from .hosts import import_host, torchvision_standin
from .iteration_seed import IterationSeedHook, seed_generators
from .preflight import ConfigError, check_datasets
from .runner import Runner, join_processes
from .several_optimizers import (
    IterationPasses,
    MultiOptimWrapperConstructor,
    frozen,
    learning,
    wrapper_configs,
)

__all__ = [
    "AveragedDataParallel",
    "CPUAmpOptimWrapper",
    "ConfigError",
    "IterationPasses",
    "IterationSeedHook",
    "MultiOptimWrapperConstructor",
    "Runner",
    "check_datasets",
    "frozen",
    "import_host",
    "join_processes",
    "learning",
    "seed_generators",
    "torchvision_standin",
    "wrapper_configs",
]
