"""The shell launchers: what they start, seen by stand-ins for python and srun."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def launch(tmp_path):
    """Run a launcher; return the words of the command that it starts, and OMP_NUM_THREADS."""
    for name in ("python", "srun"):
        stand_in = tmp_path / name
        stand_in.write_text(
            '#!/bin/sh\necho "$OMP_NUM_THREADS"\nfor w in "$@"; do echo "$w"; done\n'
        )
        stand_in.chmod(0o755)

    def run(script: str, *arguments: str, **env: str) -> list[str]:
        inherited = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [str(ROOT / "tools" / script), *arguments],
            env=inherited | {"PATH": path} | env,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()

    return run


def test_dist_train_starts_the_processes_and_passes_the_rest_on(launch):
    threads, *words = launch("dist_train.sh", "a b.py", "2", "--amp", "--cfg-options", "x=1")
    assert words[:2] == ["-m", "torch.distributed.run"]
    assert words[words.index("--nproc-per-node") + 1] == "2"
    script = next(i for i, word in enumerate(words) if word.endswith("train.py"))
    rest = ["a b.py", "--launcher", "pytorch", "--amp", "--cfg-options", "x=1"]
    assert words[script + 1 :] == rest
    assert int(threads) == max(1, len(os.sched_getaffinity(0)) // 2)


def test_dist_train_takes_the_other_machines_from_the_environment(launch):
    _, *words = launch(
        "dist_train.sh", "c.py", "8", NNODES="2", NODE_RANK="1", MASTER_ADDR="10.0.0.1", PORT="7"
    )
    for flag, value in (
        ("--nnodes", "2"),
        ("--node-rank", "1"),
        ("--master-addr", "10.0.0.1"),
        ("--master-port", "7"),
    ):
        assert words[words.index(flag) + 1] == value


def test_dist_test_passes_the_checkpoint(launch):
    _, *words = launch("dist_test.sh", "c.py", "w.pth", "2", "--out", "o.pkl")
    script = next(i for i, word in enumerate(words) if word.endswith("test.py"))
    assert words[script + 1 :] == ["c.py", "w.pth", "--launcher", "pytorch", "--out", "o.pkl"]


@pytest.mark.parametrize(
    ("script", "tool", "last", "rest"),
    [
        ("slurm_train.sh", "train.py", "dir", ["c.py", "--work-dir", "dir"]),
        ("slurm_test.sh", "test.py", "w.pth", ["c.py", "w.pth"]),
    ],
)
def test_slurm_asks_for_gpus_and_starts_the_tool(launch, script, tool, last, rest):
    _, *words = launch(script, "part", "job", "c.py", last, GPUS="4", SRUN_ARGS="--quiet --mem 8G")
    assert words[:2] == ["-p", "part"]
    assert {"--job-name=job", "--gres=gpu:4", "--ntasks=4", "--ntasks-per-node=4"} <= set(words)
    assert words[words.index("--quiet") + 1 :][:2] == ["--mem", "8G"]
    start = next(i for i, word in enumerate(words) if word.endswith(tool))
    assert words[start + 1 :] == [*rest, "--launcher", "slurm"]


@pytest.mark.parametrize("script", ["dist_train", "dist_test", "slurm_train", "slurm_test"])
def test_too_few_arguments_show_the_usage(script):
    result = subprocess.run([ROOT / "tools" / f"{script}.sh"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "usage:" in result.stderr
