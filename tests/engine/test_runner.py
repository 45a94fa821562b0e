"""The runner: checkpoints that fit, files that survive, mixed precision, two processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS

from mmext.engine import ConfigError, Runner, import_host

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _mmdet():
    import_host("mmdet")


def build(cfg: Config, name: str) -> Runner:
    cfg = cfg.copy()
    cfg.experiment_name = name
    return Runner.from_cfg(cfg)


@pytest.fixture
def trained(config, request) -> Path:
    """A checkpoint of the tiny model after three iterations."""
    build(config, request.node.name + "_train").train()
    return Path(config.work_dir) / "iter_3.pth"


def cli(script: str, *args: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / script), *args],
        capture_output=True,
        text=True,
        timeout=300,
        **kwargs,
    )


def test_train_saves_whole_checkpoints(trained):
    assert trained.exists()
    assert not list(trained.parent.glob("*.part"))
    assert (trained.parent / "last_checkpoint").read_text() == str(trained)


def test_interrupted_save_keeps_the_old_file(trained, config, monkeypatch, request):
    before = trained.read_bytes()
    runner = build(config, request.node.name)

    def half_written(checkpoint, filename, **kwargs):
        Path(filename).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("mmengine.runner.runner.save_checkpoint", half_written)
    with pytest.raises(OSError, match="No space left"):
        runner.train()
    assert trained.read_bytes() == before


def test_resume_continues(trained, config, request):
    config.train_cfg.max_iters = 5
    config.resume = True
    runner = build(config, request.node.name)
    runner.train()
    assert runner.iter == 5


@pytest.mark.parametrize("pointer", ["", "/moved/from/here/iter_3.pth", None])
def test_resume_finds_what_last_checkpoint_does_not_name(trained, config, request, pointer):
    """Killed while it was written, moved with the folder, or killed before it was written."""
    named = trained.parent / "last_checkpoint"
    named.unlink()
    if pointer is not None:
        named.write_text(pointer)
    older = trained.with_name("iter_1.pth")
    older.write_bytes(b"")
    os.utime(older, (0, 0))
    trained.with_name("initial_weights.pth").write_bytes(b"newer, and no checkpoint of a run")
    config.train_cfg.max_iters = 5
    config.resume = True
    runner = build(config, f"{request.node.name}_resumed")
    runner.train()
    assert runner.cfg.get("load_from") is None
    assert (runner.iter, Path(runner._load_from)) == (5, trained)


def test_killed_while_saving_has_the_one_before(config, request, monkeypatch):
    """Also where the config keeps one checkpoint, which mmengine removes first."""
    config.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=1)
    config.train_cfg.max_iters = 4
    runner = build(config, request.node.name)

    def killed(checkpoint, filename, **kwargs):
        if "iter_3" in filename:
            raise KeyboardInterrupt
        torch.save(checkpoint, filename)

    monkeypatch.setattr("mmengine.runner.runner.save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    monkeypatch.undo()
    config.resume = True
    resumed = build(config, f"{request.node.name}_resumed")
    resumed.train()
    assert Path(resumed._load_from).name == "iter_2.pth"
    assert resumed.iter == 4


def test_resume_without_a_checkpoint_begins_anew(config, request):
    config.resume = True
    runner = build(config, request.node.name)
    runner.train()
    assert runner.iter == config.train_cfg.max_iters


def test_test_with_another_models_checkpoint_is_an_error(trained, config, request):
    config.model.backbone.base_channels = 16
    config.model.neck.in_channels = [16, 32, 64, 128]
    config.load_from = str(trained)
    with pytest.raises(ValueError, match=r"iter_3\.pth is not a checkpoint of this model \(FCOS\)"):
        build(config, request.node.name).test()


def test_load_from_without_overlap_is_an_error(config, tmp_path, request):
    file = tmp_path / "other.pth"
    torch.save(dict(state_dict={"encoder.weight": torch.zeros(3)}), file)
    config.load_from = str(file)
    with pytest.raises(ValueError, match=r"other\.pth shares no tensor with this model"):
        build(config, request.node.name).train()


def test_load_from_may_differ_in_the_head(trained, config, tmp_path, request):
    """Fine-tuning with another number of classes starts from the tensors that fit."""
    checkpoint = torch.load(trained, weights_only=False)
    weights = checkpoint["state_dict"]
    weights["bbox_head.conv_cls.weight"] = torch.zeros(7, 16, 3, 3)
    weights["bbox_head.conv_cls.bias"] = torch.zeros(7)
    torch.save(dict(state_dict=weights), tmp_path / "seven_classes.pth")
    config.load_from = str(tmp_path / "seven_classes.pth")
    runner = build(config, request.node.name)
    runner.load_or_resume()
    name = "backbone.conv1.weight"
    assert torch.equal(runner.model.state_dict()[name], weights[name])


def test_unsafe_checkpoint_is_refused_by_the_runner(config, tmp_path, request):
    class Intruder:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch.save(dict(state_dict={}, extra=Intruder()), tmp_path / "evil.pth")
    config.load_from = str(tmp_path / "evil.pth")
    with pytest.raises(RuntimeError, match="--trust-checkpoint"):
        build(config, request.node.name).train()
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.neck.type", "FPM", r"model\.neck: type 'FPM' is not registered.*'FPN'"),
        ("model.type", "mmext.CenterNetPlusPlsu", r"model: type .*'mmext.CenterNetPlusPlus'"),
        ("optim_wrapper.optimizer.type", "Adamm", r"optim_wrapper\.optimizer: .*'Adam'"),
        (
            "train_dataloader.dataset.pipeline",
            [dict(type="LoadImageFromFiel")],
            r"train_dataloader\.dataset\.pipeline\[0\]: type 'LoadImageFromFiel'",
        ),
    ],
)
def test_unknown_type_names_the_key(config, request, key, value, message):
    config.merge_from_dict({key: value})
    with pytest.raises(ConfigError, match=message):
        build(config, re.sub(r"\W", "_", request.node.name)).train()


@pytest.fixture
def config_file(config, tmp_path) -> Path:
    file = tmp_path / "tiny.py"
    config.dump(file)
    return file


@pytest.mark.parametrize("amp", [False, True])
def test_train_tool(config_file, config, amp):
    result = cli("train.py", str(config_file), *(["--amp"] if amp else []))
    assert result.returncode == 0, result.stderr
    assert "eta:" in result.stdout
    assert "OneDL" not in result.stdout + result.stderr
    assert ("mmext.CPUAmpOptimWrapper" in result.stdout) == amp
    losses = [float(v) for v in re.findall(r" loss: ([\d.naif]+)", result.stdout)]
    assert len(losses) == 3
    assert all(0 < loss < 100 for loss in losses)


def test_amp_runs_the_convolutions_in_bfloat16(config, request):
    config.optim_wrapper.type = "mmext.CPUAmpOptimWrapper"
    runner = build(config, request.node.name)
    seen = []
    runner.model.backbone.conv1.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    runner.train()
    assert seen[0] == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())


def test_test_tool_writes_figures_pictures_and_predictions(trained, config_file, tmp_path):
    out = tmp_path / "predictions.pkl"
    work_dir = tmp_path / "test"
    result = cli(
        "test.py",
        *(str(config_file), str(trained), "--out", str(out), "--show-dir", "painted", "--tta"),
        *("--work-dir", str(work_dir)),
    )
    assert result.returncode == 0, result.stderr
    assert "coco/bbox_mAP_50" in result.stdout
    assert out.exists()
    assert len(list(work_dir.rglob("painted/*.png"))) == 8


def test_tools_name_a_missing_config():
    result = cli("train.py", "configs/none.py")
    assert result.returncode != 0
    assert "config 'configs/none.py' does not exist" in result.stderr


def test_two_processes_equal_one(config, tmp_path):
    """torchrun with two gloo processes of batch 2 ends with the weights of one of batch 4."""
    config.default_hooks.checkpoint.interval = 3
    results = []
    for processes, batch in ((1, 4), (2, 2)):
        config.train_dataloader.batch_size = batch
        config.work_dir = str(tmp_path / f"{processes}")
        file = tmp_path / f"processes{processes}.py"
        config.dump(file)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={processes}", str(ROOT / "tools" / "train.py"), str(file)]
        command += ["--launcher", "pytorch"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        checkpoint = torch.load(tmp_path / f"{processes}" / "iter_3.pth", weights_only=False)
        results.append(checkpoint["state_dict"])
    one, two = results
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_runner_is_registered():
    assert RUNNERS.get("mmext.Runner") is Runner
