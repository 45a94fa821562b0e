"""What the tasks share while running: runner, optimiser wrappers, checks, host packages."""

from .amp import CPUAmpOptimWrapper
from .hosts import import_host, torchvision_standin
from .preflight import ConfigError, check_datasets
from .runner import Runner

__all__ = [
    "CPUAmpOptimWrapper",
    "ConfigError",
    "Runner",
    "check_datasets",
    "import_host",
    "torchvision_standin",
]
