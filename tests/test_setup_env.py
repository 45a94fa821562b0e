"""The one-command environment: its progress lines, its advice, its decisions; no downloads."""

import io
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _scripts_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "misc"))


@pytest.fixture
def setup_env(tmp_path, monkeypatch):
    """The script as a module, working on an empty checkout in ``tmp_path``."""
    import setup_env

    (tmp_path / "mmext" / "csrc").mkdir(parents=True)
    (tmp_path / ".venv").mkdir()
    for name in ("setup.py", "pyproject.toml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.setattr(setup_env, "ROOT", tmp_path)
    monkeypatch.setattr(setup_env, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(setup_env, "VENV_PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(setup_env, "MMEXT_MARK", tmp_path / ".venv" / "mmext.txt")
    monkeypatch.setattr(setup_env, "MMCV_MARK", tmp_path / ".venv" / "mmcv.txt")
    return setup_env


def console(tmp_path, total=3):
    from setup_console import Console

    stream = io.StringIO()
    return Console(tmp_path / "setup.log", total, stream), stream


@pytest.mark.parametrize(
    ("output", "returncode", "advice"),
    [
        ("c++: fatal error: Killed signal terminated program cc1plus", 1, "MAX_JOBS=1 make env"),
        ("", -9, "MAX_JOBS=1 make env"),
        ("OSError: [Errno 28] No space left on device", 1, "disk is full"),
        ("fatal error: Python.h: No such file or directory", 1, "python3-dev"),
        ("error: command 'g++' failed: No such file or directory", 1, "apt install g++"),
        ("/bin/sh: 1: c++: not found", 127, "apt install g++"),
        ("No module named ensurepip", 1, "python3-venv"),
        (
            "NewConnectionError: Failed to establish a new connection: [Errno -3] Temporary "
            "failure in name resolution\nERROR: No matching distribution found for torch==2.13.0",
            1,
            "index was not reachable",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", 1, "another Python"),
        ("The detected CUDA version (12.4) mismatches the version", 1, "CUDA_HOME"),
        ("SyntaxError: invalid syntax", 1, ""),
    ],
)
def test_advice_fits_the_failure(output, returncode, advice):
    from setup_console import advise

    found = advise(output, returncode)
    assert advice in found
    assert bool(advice) == bool(found)


def test_progress_counts_compiled_files_and_estimates_the_rest():
    from setup_console import Progress

    progress = Progress()
    progress.feed("  Running command Building wheel for onedl-mmcv (pyproject.toml)", now=100.0)
    progress.feed("  [2/157] c++ -MMD -MF a.o", now=100.0 + 2 * 4)
    assert progress.text == "compiled 2 of 157 files (1 %), about 10 min left"
    progress.feed("  [53/157] c++ -MMD -MF b.o", now=100.0 + 53 * 4)
    assert progress.text == "compiled 53 of 157 files (33 %), about 6 min 56 s left"
    progress.feed("  [157/157] c++ -MMD -MF c.o", now=1000.0)
    assert progress.text == "compiled 157 of 157 files (100 %)"


def test_progress_shows_downloads_and_activities():
    from setup_console import Progress

    progress = Progress()
    progress.feed("Progress 52000000 of 180000000", now=0.0)
    assert progress.text == "downloading 52 of 180 MB"
    progress.feed("Installing collected packages: torch", now=0.0)
    assert progress.text == "Installing collected packages: torch"
    progress.feed("some other words", now=0.0)
    assert progress.text == "Installing collected packages: torch"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (42, "42 s"), (185, "3 min 5 s"), (240, "4 min"), (754, "12 min")],
)
def test_duration(seconds, text):
    from setup_console import duration

    assert duration(seconds) == text


def test_steps_are_numbered_and_logged(tmp_path):
    out, stream = console(tmp_path)
    out.in_place("first")
    out.step("second", "about 1 s")
    assert out.run([sys.executable, "-c", "print('hello')"]) == "hello\n"
    out.done()
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["[1/3] first: in place", "[2/3] second: about 1 s"]
    assert lines[-1].startswith("      done in ")
    assert "hello" in (tmp_path / "setup.log").read_text()


def test_a_failed_command_shows_its_last_lines_the_advice_and_the_log(tmp_path):
    from setup_console import SetupError

    out, _ = console(tmp_path)
    out.step("compile")
    script = "import sys; print('working'); sys.exit('No space left on device')"
    with pytest.raises(SetupError) as caught:
        out.run([sys.executable, "-c", script])
    message = str(caught.value)
    assert "[1/3] compile failed (exit status 1)" in message
    assert "    | working" in message
    assert "The disk is full" in message
    assert str(tmp_path / "setup.log") in message


def test_commands_get_no_stdin(tmp_path):
    out, _ = console(tmp_path)
    out.step("read")
    assert out.run([sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"]) == "''\n"


def test_an_interruption_ends_the_command_too(tmp_path, monkeypatch):
    out, _ = console(tmp_path)
    out.step("sleep")
    monkeypatch.setattr(out, "_lines", _interrupting_lines)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        out.run([sys.executable, "-c", "import time; time.sleep(600)"])
    assert time.monotonic() - start < 60


def _interrupting_lines(process, progress):
    raise KeyboardInterrupt
    yield


def test_a_long_step_reports_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr("setup_console.REPORT_EVERY", 0.0)
    out, stream = console(tmp_path)
    out.step("compile")
    script = "import time; print('[3/4] c++', flush=True); time.sleep(1.5)"
    out.run([sys.executable, "-c", script])
    assert "compiled 3 of 4 files (75 %)" in stream.getvalue()


def test_python_too_old_is_named(monkeypatch):
    import setup_machine
    from setup_console import SetupError

    monkeypatch.setattr(setup_machine, "MIN_PYTHON", (4, 0))
    with pytest.raises(SetupError, match=r"mmext needs 4\.0 or newer.*PYTHON="):
        setup_machine.check_python()


def test_missing_compiler_is_found_before_anything_is_downloaded(monkeypatch, tmp_path):
    from setup_console import SetupError
    from setup_machine import check_machine

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SetupError, match=r"no C\+\+ compiler \(g\+\+\).*\n.*apt install g\+\+"):
        check_machine(tmp_path)


def test_little_disk_is_found_before_anything_is_downloaded(monkeypatch, tmp_path):
    import setup_machine
    from setup_console import SetupError

    monkeypatch.setattr(setup_machine, "MIN_DISK_GB", 1e9)
    with pytest.raises(SetupError, match="GB are free on the disk of"):
        setup_machine.check_machine(tmp_path)


def test_missing_python_headers_are_found(monkeypatch, tmp_path):
    import setup_machine
    from setup_console import SetupError

    monkeypatch.setattr(setup_machine.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(SetupError, match="python3-dev"):
        setup_machine.check_machine(tmp_path)


def test_job_count_follows_max_jobs_and_memory(monkeypatch):
    import setup_machine

    monkeypatch.setenv("MAX_JOBS", "7")
    assert setup_machine.job_count() == 7
    monkeypatch.delenv("MAX_JOBS")
    monkeypatch.setattr(setup_machine, "JOB_MEMORY_GB", 1e9)
    assert setup_machine.job_count() == 1


def test_what_is_installed_is_not_installed_again(setup_env, tmp_path):
    out, stream = console(tmp_path, total=7)
    environment = setup_env.Environment(out, torch=None)
    environment.pip = lambda *args, **kwargs: pytest.fail(f"pip {args} was called")
    environment.python = "3.11.7"
    environment.versions = {
        "torch": "2.13.0+cpu",
        "mmext": "0.1.0",
        **setup_env.MMCV,
        **setup_env.STACK,
        **setup_env.DATA,
        **{line.partition(">=")[0]: "9" for line in setup_env.dev_requirements()},
    }
    (tmp_path / ".venv" / "bin").mkdir()
    (tmp_path / ".venv" / "bin" / "ninja").touch()
    (tmp_path / "mmext" / "_C.so").touch()
    setup_env.write_mark(setup_env.MMCV_MARK, "onedl-mmcv==2.3.6 torch==2.13.0+cpu python==3.11.7")
    setup_env.write_mark(setup_env.MMEXT_MARK, setup_env.sources_hash("2.13.0+cpu", "3.11.7"))
    environment.make_venv()
    environment.install_torch()
    environment.install_stack()
    environment.install_mmcv()
    environment.install_data()
    environment.install_dev()
    environment.install_mmext()
    assert stream.getvalue().count("in place") == 7


def test_a_changed_source_or_torch_compiles_the_ops_again(setup_env, tmp_path):
    before = setup_env.sources_hash("2.13.0+cpu", "3.11.7")
    assert setup_env.sources_hash("2.14.0", "3.11.7") != before
    (tmp_path / "mmext" / "csrc" / "op.cpp").write_text("int one() { return 1; }")
    assert setup_env.sources_hash("2.13.0+cpu", "3.11.7") != before


def test_a_chosen_torch_replaces_another(setup_env, tmp_path):
    out, stream = console(tmp_path)
    environment = setup_env.Environment(out, torch="torch==2.14.0")
    environment.versions = {"torch": "2.13.0+cpu"}
    asked = []

    def pip(*arguments):
        asked.append(arguments[-1])
        assert "torch" not in environment.versions  # else the old one would be a constraint
        environment.versions["torch"] = "2.14.0+cpu"

    environment.pip = pip
    environment.install_torch()
    environment.install_torch()
    assert asked == ["torch==2.14.0"]
    assert "[2/3] torch 2.14.0+cpu" in stream.getvalue()


def test_opencv_without_libgl_becomes_the_headless_one(setup_env, tmp_path):
    environment = setup_env.Environment(console(tmp_path)[0], torch=None)
    environment.versions = {"torch": "2.13.0", "opencv-python": "4.12.0.88"}
    errors = {"opencv": "ImportError: libGL.so.1: cannot open shared object file"}
    asked = []

    def pip(*arguments):
        asked.append(arguments[-1])
        if "--force-reinstall" in arguments:
            errors.clear()

    environment.pip, environment.imports = pip, errors.get
    environment.install_stack()
    assert asked[-1] == "opencv-python-headless==4.12.0.88"


def test_an_mmcv_wheel_of_another_torch_is_compiled_anew(setup_env, tmp_path):
    environment = setup_env.Environment(console(tmp_path)[0], torch=None)
    environment.python, environment.versions = "3.11.7", {"torch": "2.14.0", **setup_env.MMCV}
    errors = {"mmcv": "ImportError: undefined symbol: _ZN3c10"}
    asked = []

    def pip(*arguments, **env):
        asked.append((arguments, env))
        errors.clear()

    environment.pip, environment.imports = pip, errors.get
    environment.install_mmcv()
    environment.install_mmcv()
    ((arguments, env),) = asked
    assert {"--no-cache-dir", "--force-reinstall", "--no-deps"} <= set(arguments)
    assert env == {"MMCV_WITH_OPS": "1"}


def test_an_old_torch_of_the_base_python_is_refused(setup_env, tmp_path, monkeypatch):
    from setup_console import SetupError

    monkeypatch.setattr(setup_env, "inherited_torch", lambda: "2.1.0")
    environment = setup_env.Environment(console(tmp_path)[0], torch=None)
    with pytest.raises(SetupError, match=r"has torch 2\.1\.0; mmext needs 2\.13.*TORCH="):
        environment.make_venv()


def test_a_broken_venv_is_named(setup_env, tmp_path):
    from setup_console import SetupError

    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(SetupError, match=r"rm -rf \.venv"):
        setup_env.Environment(console(tmp_path)[0], torch=None).probe()


def test_make_names_a_python_that_is_not_there():
    result = subprocess.run(
        ["make", "env", "PYTHON=no-such-python"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert "There is no no-such-python here" in result.stdout


def test_make_alone_says_what_there_is():
    result = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("env", "demo", "test", "lint", "bench"):
        assert f"make {target} " in result.stdout
