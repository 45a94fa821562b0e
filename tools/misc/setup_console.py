"""How ``setup_env.py`` talks: runs commands, logs them, shows a live line, explains failures.

Standard library only, because it runs before anything is installed.
"""

from __future__ import annotations  # so that an old Python reaches the message about its age

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

REPORT_EVERY = 30.0  # seconds between progress lines where the output is not a terminal
TAIL_LINES = 25

# What a failed command printed, and what to do about it. The first match counts.
ADVICE = (
    (
        r"Killed signal terminated program|internal compiler error: Killed|signal 9|"
        r"cannot allocate memory|std::bad_alloc",
        "The compiler ran out of memory (it takes up to 1.5 GB per job). Close other programs or "
        "compile one file at a time:\n    MAX_JOBS=1 make env",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        "The disk is full. Free some space (about 6 GB are needed for the environment and for the "
        "temporary files of the compilation; TMPDIR= moves the latter), then run the same command "
        "again.",
    ),
    (
        r"Python\.h: No such file",
        "The C headers of this Python are missing. On Debian and Ubuntu:\n"
        "    sudo apt install python3-dev",
    ),
    (
        r"(g\+\+|c\+\+|gcc).*(No such file or directory|not found|command not found)",
        "There is no C++ compiler. On Debian and Ubuntu:\n    sudo apt install g++",
    ),
    (
        r"ensurepip is not available|No module named '?(ensurepip|venv)",
        "This Python cannot make virtual environments. On Debian and Ubuntu:\n"
        "    sudo apt install python3-venv\n"
        "or name another Python: make env PYTHON=/path/to/python",
    ),
    (
        r"name resolution|NewConnectionError|Connection refused|ConnectTimeout|Read timed out|"
        r"ProxyError|SSLError|CERTIFICATE_VERIFY_FAILED|Network is unreachable|RemoteDisconnected|"
        r"IncompleteRead|Connection reset",
        "The package index was not reachable. Check the network, or tell pip about your proxy or "
        "mirror (PIP_PROXY, PIP_INDEX_URL, PIP_CERT), then run the same command again: finished "
        "steps are kept.",
    ),
    (
        r"No matching distribution found|Could not find a version that satisfies",
        "The package index has no build of this package for this Python. Choose another Python "
        "(make env PYTHON=python3.11) or another torch (make env TORCH=torch==2.13.0), or check "
        "that PIP_INDEX_URL names a complete index.",
    ),
    (
        r"detected CUDA version .* mismatches",
        "The CUDA toolkit on PATH is not the one this torch was built with. Put the matching one "
        "first (CUDA_HOME=/usr/local/cuda-X.Y), or choose a CPU build of torch.",
    ),
)


class SetupError(Exception):
    """A set-up step failed; the message says what to do."""


def advise(output: str, returncode: int) -> str:
    """Return what to do about a command that printed ``output`` and exited with ``returncode``.

    Returns:
        One piece of advice, or an empty string when the failure is not a known one.
    """
    if returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return ADVICE[0][1]
    for pattern, advice in ADVICE:
        if re.search(pattern, output, re.IGNORECASE):
            return advice
    return ""


def duration(seconds: float) -> str:
    """Return ``seconds`` as people say it: ``42 s``, ``3 min 5 s``, ``12 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"


class Progress:
    """Reads pip's and ninja's output and says in a few words how far the work is."""

    _NINJA = re.compile(r"^\s*\[(\d+)/(\d+)\]")
    _DOWNLOAD = re.compile(r"^Progress (\d+) of (\d+)")
    _ACTIVITY = re.compile(
        r"^\s*(Collecting|Downloading|Using cached|Building wheel for|Installing|Preparing|"
        r"Running command|Successfully|Unpacking)\b.*"
    )

    def __init__(self) -> None:
        self.text = "starting"
        self._activity_since: float | None = None

    def feed(self, line: str, now: float) -> None:
        """Take one output line at time ``now`` (seconds) into account."""
        if match := self._NINJA.match(line):
            self._compiled(int(match[1]), int(match[2]), now)
        elif match := self._DOWNLOAD.match(line):
            done, total = int(match[1]), int(match[2])
            self.text = f"downloading {done / 1e6:.0f} of {total / 1e6:.0f} MB"
        elif match := self._ACTIVITY.match(line):
            self.text = match[0].strip()[:70]
            self._activity_since = now

    def _compiled(self, count: int, total: int, now: float) -> None:
        self.text = f"compiled {count} of {total} files ({100 * count // max(total, 1)} %)"
        # From the start of the compilation, not from the first line, which several files share.
        if self._activity_since is not None and 0 < count < total:
            left = (now - self._activity_since) / count * (total - count)
            self.text += f", about {duration(left)} left"


class Console:
    """Runs the commands of the set-up, one numbered step after the other.

    Args:
        log_path: file that receives everything the commands print.
        total: how many steps there are.
        stream: where the progress goes.
    """

    def __init__(self, log_path: Path, total: int, stream: TextIO = sys.stdout) -> None:
        self.log_path = log_path
        self._total = total
        self._stream = stream
        self._live = stream.isatty()
        self._prefix = ""
        self._number = 0
        self._step_start = 0.0

    def step(self, title: str, estimate: str = "") -> None:
        """Announce the next step, e.g. ``[3/7] mmcv 2.3.6: compiling, about 12 min``."""
        self._number += 1
        self._step_start = time.monotonic()
        self._prefix = f"[{self._number}/{self._total}] {title}"
        self._say(f"{self._prefix}: {estimate}" if estimate else self._prefix)

    def note(self, text: str) -> None:
        """Say something about the step that runs."""
        self._say(f"      {text}")

    def done(self, what: str = "done") -> None:
        """Close the step with its time."""
        self.note(f"{what} in {duration(time.monotonic() - self._step_start)}")

    def in_place(self, title: str) -> None:
        """Count a step that has nothing to do."""
        self._number += 1
        self._say(f"[{self._number}/{self._total}] {title}: in place")

    def _say(self, text: str) -> None:
        clear = "\r\033[K" if self._live else ""
        self._stream.write(f"{clear}{text}\n")
        self._stream.flush()

    def _show(self, text: str) -> None:
        line = f"      {text} [{duration(time.monotonic() - self._step_start)} so far]"
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\033[K{line[:width]}")
            self._stream.flush()
        else:
            self._say(line)

    def run(self, command: Sequence[str], env: dict[str, str] | None = None) -> str:
        """Run ``command``, log what it prints and show how far it is.

        Returns:
            The last lines it printed.

        Raises:
            SetupError: it failed; the message holds its last lines and what to do.
        """
        tail: deque[str] = deque(maxlen=400)
        progress = Progress()
        with self.log_path.open("a", encoding="utf-8", errors="replace") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # an interruption ends the compilers with their parent
            )
            try:
                for line in self._lines(process, progress):
                    log.write(line)
                    log.flush()
                    tail.append(line)
                    progress.feed(line, time.monotonic())
                returncode = process.wait()
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                raise
        if returncode != 0:
            raise SetupError(self._failure(list(tail), returncode))
        return "".join(tail)

    def _lines(self, process: subprocess.Popen[str], progress: Progress) -> Iterator[str]:
        """Yield the lines of ``process`` and keep the live line moving in between."""
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        interval = 0.5 if self._live else REPORT_EVERY
        shown = time.monotonic()
        while True:
            try:
                line = lines.get(timeout=0.5)
            except queue.Empty:
                pass
            else:
                if line is None:
                    return
                yield line
            if time.monotonic() - shown >= interval:
                shown = time.monotonic()
                self._show(progress.text)

    def _failure(self, tail: list[str], returncode: int) -> str:
        last = "".join(f"    | {line}" for line in tail[-TAIL_LINES:]).rstrip()
        advice = advise("".join(tail), returncode)
        parts = [f"{self._prefix} failed (exit status {returncode}). It said last:", last]
        if advice:
            parts += ["", "What to do:", advice]
        parts += ["", f"The whole log: {self.log_path}"]
        return "\n".join(parts)
