"""What the tasks share while running: runner, optimiser wrappers, checks, host packages."""

from .amp import CPUAmpOptimWrapper
from .data_parallel import AveragedDataParallel
from .hosts import import_host, torchvision_standin
from .preflight import ConfigError, check_datasets
from .runner import Runner
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
    "MultiOptimWrapperConstructor",
    "Runner",
    "check_datasets",
    "frozen",
    "import_host",
    "learning",
    "torchvision_standin",
    "wrapper_configs",
]
