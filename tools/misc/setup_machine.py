"""What the set-up needs of the machine: Python, compiler, headers, disk, memory.

Standard library only, because it runs before anything is installed.
"""

from __future__ import annotations  # so that an old Python reaches the message about its age

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setup_console import SetupError

MIN_PYTHON = (3, 11)
MIN_DISK_GB = 6
JOB_MEMORY_GB = 1.5  # what one compiler of torch headers takes at most


def job_count() -> int:
    """Return how many compilers to run: MAX_JOBS, else one per core that memory allows."""
    if "MAX_JOBS" in os.environ:
        return int(os.environ["MAX_JOBS"])
    free_gb = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free_gb = int(line.split()[1]) / 1e6
    return max(1, min(len(os.sched_getaffinity(0)), int(free_gb / JOB_MEMORY_GB)))


def check_python() -> None:
    """Raise SetupError unless this Python is recent enough."""
    if sys.version_info < MIN_PYTHON:
        raise SetupError(
            f"This is Python {sys.version.split()[0]} ({sys.executable}); mmext needs "
            f"{MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer. Name one: make env PYTHON=python3.11"
        )


def check_machine(folder: Path) -> None:
    """Raise SetupError for what would fail minutes later: no compiler, headers, venv or disk."""
    compiler = os.environ.get("CXX", "g++").split()[0]
    if shutil.which(compiler) is None:
        raise SetupError(
            f"There is no C++ compiler ({compiler}); mmcv and the ops of mmext are compiled here. "
            "On Debian and Ubuntu:\n    sudo apt install g++\n(or name another one with CXX=)."
        )
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        raise SetupError(
            f"The C headers of {sys.executable} are missing (no Python.h). On Debian and Ubuntu:\n"
            "    sudo apt install python3-dev"
        )
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise SetupError(
            f"{sys.executable} cannot make virtual environments. On Debian and Ubuntu:\n"
            "    sudo apt install python3-venv\n"
            "or name another Python: make env PYTHON=/path/to/python"
        ) from None
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < MIN_DISK_GB:
        raise SetupError(
            f"{free_gb:.1f} GB are free on the disk of {folder}; about {MIN_DISK_GB} GB are needed "
            "for .venv and the compilation. Free some space and run the same command again."
        )
