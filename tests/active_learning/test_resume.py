"""Stopped anywhere and resumed: the same sets, figures and weights; two processes as one."""

import copy
import json
import multiprocessing
import os
import random
import socket

import pytest
import staged_head  # noqa: F401  (registers the head and the hook of these tests)
import torch
from mmengine.config import Config
from tiny_campaign import campaign_config

from mmext.active_learning import Pool
from mmext.active_learning.acquisitions import Random
from mmext.active_learning.campaign import Campaign
from mmext.engine import Runner

PHASES = [
    dict(name="label", stage="label", epochs=2),
    dict(name="min", stage="min", epochs=1, data="labeled+unlabeled", train=["*", "!*conv_cls*"]),
]
ITERATIONS = 3 * 2 + 3 * 4
STOPS = sorted(random.Random(0).sample(range(1, ITERATIONS), 5))


def staged_config(root, work_dir, **train_cfg) -> Config:
    cfg = campaign_config(root, work_dir, phases=PHASES, **train_cfg)
    cfg.model.bbox_head.update(type="StagedFCOSHead", noise=5.0)
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=2)
    return cfg


def run(cfg: Config, name: str, *, resume: bool = False) -> Runner:
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name, cfg.resume = f"{name}{resume}", resume
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def end_of(folder) -> dict:
    """What has to be the same: sets, figures, weights."""
    pool = Pool.load(folder)
    figures = [{k: e[k] for k in ("cycle", "labeled", "metrics")} for e in pool.history]
    saved = [torch.load(folder / f"cycle_{n}.pth", weights_only=False) for n in range(2)]
    weights = {f"{n}.{k}": v for n, one in enumerate(saved) for k, v in one["state_dict"].items()}
    return dict(cycles=pool.cycles, hashes=pool.hashes, figures=figures, weights=weights)


def assert_same(ours: dict, theirs: dict) -> None:
    for key in ("cycles", "hashes", "figures"):
        assert ours[key] == theirs[key], key
    assert all("coco/bbox_mAP" in entry["metrics"] for entry in ours["figures"])
    for name, value in theirs["weights"].items():
        assert torch.equal(ours["weights"][name], value), name


@pytest.fixture(scope="module")
def whole(pool_data, tmp_path_factory) -> dict:
    """The end of a campaign that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    runner = run(staged_config(pool_data, folder), "whole")
    assert runner.iter == ITERATIONS
    return end_of(folder)


@pytest.mark.parametrize("iteration", STOPS)
def test_stopped_at_any_iteration(pool_data, tmp_path, whole, iteration, request):
    cfg = staged_config(pool_data, tmp_path)
    stopped = copy.deepcopy(cfg)
    stopped.custom_hooks = [dict(type="StopAt", iteration=iteration)]
    with pytest.raises(KeyboardInterrupt):
        run(stopped, request.node.name)
    runner = run(cfg, request.node.name, resume=True)
    assert runner.iter == ITERATIONS
    assert_same(end_of(tmp_path), whole)


@pytest.mark.parametrize("iteration", [1, 11])
def test_stopped_with_a_checkpoint_per_epoch(pool_data, tmp_path, whole, iteration, request):
    """Before there is any, the campaign begins anew; at the end of a phase the next one begins."""
    cfg = staged_config(pool_data, tmp_path)
    cfg.default_hooks.checkpoint.by_epoch = True
    stopped = copy.deepcopy(cfg)
    stopped.custom_hooks = [dict(type="StopAt", iteration=iteration)]
    with pytest.raises(KeyboardInterrupt):
        run(stopped, request.node.name)
    assert run(cfg, request.node.name, resume=True).iter == ITERATIONS
    assert_same(end_of(tmp_path), whole)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_stopped_while_selecting(pool_data, tmp_path, whole, moment, monkeypatch, request):
    """Before anything is written, and after the pool was written but no checkpoint."""
    cfg = staged_config(pool_data, tmp_path)
    with monkeypatch.context() as patch:
        if moment == "before":
            patch.setattr(Random, "select", interrupt)
        else:
            patch.setattr(Campaign, "load_initial", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(cfg, request.node.name)
    assert len(Pool.load(tmp_path).cycles) == (1 if moment == "before" else 2)
    run(cfg, request.node.name, resume=True)
    assert_same(end_of(tmp_path), whole)


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_goes_on_for_more_cycles_and_from_older_checkpoints(pool_data, tmp_path, request):
    """A second cycle after the end; then from within it again, also when pool.json is lost."""
    cfg = campaign_config(pool_data, tmp_path, cycles=1)
    cfg.default_hooks.checkpoint.interval = 2
    run(cfg, request.node.name)
    cfg.train_cfg.cycles = 2
    run(cfg, request.node.name + "more", resume=True)
    two = Pool.load(tmp_path)
    assert [len(images) for images in two.cycles] == [4, 3]
    assert [entry["cycle"] for entry in two.history] == [0, 1]
    cfg.load_from = str(tmp_path / "iter_10.pth")
    (tmp_path / "pool.json").unlink()
    run(cfg, request.node.name + "older", resume=True)
    again = Pool.load(tmp_path)
    assert again.cycles == two.cycles
    assert [entry["metrics"] for entry in again.history] == [e["metrics"] for e in two.history]


def test_refuses_to_mix_campaigns(pool_data, tmp_path, request):
    cfg = campaign_config(pool_data, tmp_path / "a", cycles=1)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    run(cfg, request.node.name)
    with pytest.raises(ValueError, match="holds a campaign"):
        run(cfg, request.node.name + "1")
    other = copy.deepcopy(cfg)
    other.train_cfg.budget.step = 2
    with pytest.raises(ValueError, match="begun with other settings: budget"):
        run(other, request.node.name + "2", resume=True)
    other = copy.deepcopy(cfg)
    other.randomness.seed, other.work_dir = 5, str(tmp_path / "b")
    run(other, request.node.name + "3")
    cfg.load_from = str(tmp_path / "b" / "cycle_0.pth")
    with pytest.raises(ValueError, match="belongs to another campaign"):
        run(cfg, request.node.name + "4", resume=True)


def test_changed_annotations_are_noticed(pool_data, tmp_path, request):
    content = json.loads((pool_data / "annotations.json").read_text())
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(content))
    cfg = campaign_config(pool_data, tmp_path / "work", cycles=1)
    cfg.train_dataloader.dataset.ann_file = str(file)
    runner = run(cfg, request.node.name)
    cfg.train_cfg.cycles = 2
    image = runner.train_loop.pool.labeled()[0]
    number = int(image.removeprefix("images/").removesuffix(".png"))
    box = next(a for a in content["annotations"] if a["image_id"] == number)
    box["bbox"][2] += 1
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"of 1 labelled images have changed .* {image}"):
        run(cfg, request.node.name, resume=True)


def _train(cfg: Config, rank: int, world: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    Runner.from_cfg(cfg).train()


def run_on_two(cfg: Config, name: str, *, expected: int = 0) -> None:
    """Run in two gloo processes, which have to end with the expected exit code."""
    cfg = copy.deepcopy(cfg)
    cfg.launcher, cfg.experiment_name = "pytorch", name
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")  # what is imported is there already
    workers = [context.Process(target=_train, args=(cfg, rank, 2, port)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(240)
        assert worker.exitcode == expected


def test_two_processes_equal_one_and_resume(pool_data, tmp_path, request):
    """Two gloo processes of batch 1 select the same images and end with the same weights."""
    settings = dict(
        acquisition=dict(type="mmext.Entropy", reduce="mean"), budget=dict(initial=4, step=4)
    )
    name = request.node.name
    single = staged_config(pool_data, tmp_path / "one", **settings)
    double = staged_config(pool_data, tmp_path / "two", **settings)
    for cfg in (single, double):
        cfg.model.bbox_head.noise = 0.0  # other numbers in each process
    double.train_dataloader.batch_size = 1
    run_on_two(double, f"{name}_two")
    run(single, name)
    one, two = end_of(tmp_path / "one"), end_of(tmp_path / "two")
    assert one["cycles"] == two["cycles"]
    for key, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][key], value, rtol=1e-3, atol=1e-5, msg=key)
    for ours, theirs in zip(one["figures"], two["figures"], strict=True):
        assert ours["metrics"] == pytest.approx(theirs["metrics"], abs=0.02)

    double.work_dir = str(tmp_path / "stopped")
    stopped = copy.deepcopy(double)
    stopped.custom_hooks = [dict(type="StopAt", iteration=STOPS[2])]
    run_on_two(stopped, f"{name}_stopped", expected=1)
    double.resume = True
    run_on_two(double, f"{name}_resumed")
    assert_same(end_of(tmp_path / "stopped"), two)
