"""What the training benchmarks share: runs in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "tools" / "benchmarks"
SCRIPT = '''"""A benchmark that trains nothing."""
import os, sys, time
sys.path.insert(0, {benchmarks!r})
from run_queue import read_results, runs_parser, train_runs, write_json

def run_one(method, data, seed, folder, threads):
    if method == "fails":
        sys.exit("this one failed")
    write_json(folder / "begun.json", dict(pid=os.getpid(), threads=os.environ["OMP_NUM_THREADS"]))
    if method == "slow":
        time.sleep(600)
    write_json(folder / "result.json", dict(method=method, data=data, seed=seed))

args = runs_parser(__doc__, data=("a", "b"), methods=("fast", "slow", "fails")).parse_args()
runs = [(m, d, s) for s in args.seeds for d in args.data for m in args.methods]
folders = train_runs(__file__, args, runs, run_one)
for data in args.data:
    print(data, [result["seed"] for result in read_results(folders, data)])
'''


@pytest.fixture
def command(tmp_path):
    script = tmp_path / "nothing.py"
    script.write_text(SCRIPT.format(benchmarks=str(BENCHMARKS)))
    return [sys.executable, str(script), "--out", str(tmp_path / "out")]


def run(command, *more):
    return subprocess.run([*command, *more], capture_output=True, text=True, check=False)


def test_each_run_once(command, tmp_path):
    more = ["--methods", "fast", "--seeds", "3", "1", "--data", "b", "a", "--threads", "2"]
    done = run(command, *more, "--jobs", "2")
    assert "0 of 4 runs are finished" in done.stdout
    assert done.stdout.endswith("b [3, 1]\na [3, 1]\n")
    begun = tmp_path / "out" / "a-fast-3" / "begun.json"
    first = json.loads(begun.read_text())
    assert first["threads"] == "2"
    (tmp_path / "out" / "b-fast-1" / "result.json").unlink()
    assert "3 of 4 runs are finished" in run(command, *more).stdout
    assert json.loads(begun.read_text()) == first


def test_a_failure_shows_its_log(command, tmp_path):
    done = run(command, "--methods", "fails", "fast")
    assert done.returncode == 1
    assert "this one failed" in done.stderr
    assert f"{tmp_path}/out/a-fails-0/stdout.log" in done.stderr


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_runs_end_with_the_benchmark(how, command, tmp_path):
    begun = tmp_path / "out" / "a-slow-0" / "begun.json"
    with subprocess.Popen(
        [*command, "--methods", "slow"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.time() + 120
        while not begun.is_file() and time.time() < deadline:
            time.sleep(0.05)
        pid = json.loads(begun.read_text())["pid"]
        assert is_running(pid)
        process.send_signal(how)
        assert process.wait(60) != 0
    while is_running(pid) and time.time() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)
