"""Whole runs to several targets without labels: resuming, two processes, export."""

import copy
import multiprocessing
import os
import shutil
import socket
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS
from mmseg.apis import inference_model
from multi_target_task import multi_target_config, write_streets

from mmext.engine import AveragedDataParallel, Runner
from mmext.segmentation.adaptation import export_segmentor, segmentor_config

ROOT = Path(__file__).resolve().parents[3]
PARTS = {"segmentor", "experts", "discriminators"}


def build(cfg: Config, name: str) -> Runner:
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = name
    return Runner.from_cfg(cfg)


def load(path):
    return torch.load(path, weights_only=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The config of a run of two iterations of warm-up and two more, with a checkpoint of each."""
    root = tmp_path_factory.mktemp("targets")
    data, tested = (write_streets(root / name) for name in ("train", "test"))
    cfg = multi_target_config(data, root / "work")
    for name in cfg.model.targets:
        shutil.rmtree(data / name / "labels")  # nobody may ask for them
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(tested / "blue")
    cfg.default_hooks.checkpoint.interval = 1
    build(cfg, "trained_multi_target").train()
    return cfg


def flat(value, path=""):
    """Return the leaves of nested dicts and lists by their path."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, item in items for k, v in flat(item, f"{path}.{key}").items()}
    return {path: value}


@pytest.mark.parametrize("done", [1, 2, 3], ids=["warm-up", "between", "joint"])
def test_resuming_ends_where_an_uninterrupted_run_does(trained, tmp_path, request, done):
    """Bit by bit, with all networks, optimisers and schedules."""
    cfg = copy.deepcopy(trained)
    cfg.work_dir = str(tmp_path)
    cfg.load_from, cfg.resume = f"{trained.work_dir}/iter_{done}.pth", True
    runner = build(cfg, request.node.name)
    runner.train()
    assert runner.iter == 4
    whole, resumed = load(f"{trained.work_dir}/iter_4.pth"), load(tmp_path / "iter_4.pth")
    assert {name.partition(".")[0] for name in whole["state_dict"]} == PARTS
    for part in ("state_dict", "optimizer", "param_schedulers"):
        ours, theirs = flat(resumed[part]), flat(whole[part])
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            equal = torch.equal(ours[key], value) if torch.is_tensor(value) else ours[key] == value
            assert equal, f"{part}{key}"


def test_the_student_waits_and_then_learns(trained):
    states = [load(f"{trained.work_dir}/iter_{i}.pth")["state_dict"] for i in (1, 2, 3, 4)]
    student = [key for key in states[0] if key.startswith("segmentor.")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in student)
    for before, after in ((1, 2), (2, 3)):
        assert not any(torch.equal(states[before][key], states[after][key]) for key in student)


def _train(cfg: Config, rank: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    runner = Runner.from_cfg(cfg)
    assert isinstance(runner.model, AveragedDataParallel)
    runner.train()


def test_two_processes_equal_one(trained, tmp_path, request):
    """Two gloo processes of batch 2 end with the weights of one of batch 4, over both phases."""
    single = copy.deepcopy(trained)
    single.train_cfg.max_iters, single.model.warmup_iters = 2, 1
    single.work_dir, single.train_dataloader.batch_size = str(tmp_path / "one"), 4
    double = copy.deepcopy(single)
    double.work_dir, double.train_dataloader.batch_size = str(tmp_path / "two"), 2
    double.launcher, double.experiment_name = "pytorch", request.node.name + "_two"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")  # what is imported is there already
    workers = [context.Process(target=_train, args=(double, rank, port)) for rank in range(2)]
    for worker in workers:
        worker.start()
    build(single, request.node.name).train()
    for worker in workers:
        worker.join(240)
        assert worker.exitcode == 0
    one, two = (load(tmp_path / name / "iter_2.pth") for name in ("one", "two"))
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("part", ["segmentor", "experts.dark"])
def test_export_is_a_plain_segmentor_of_mmsegs(trained, tmp_path, part):
    checkpoint = f"{trained.work_dir}/iter_4.pth"
    config, weights = export_segmentor(trained, checkpoint, tmp_path / "plain", part=part)
    exported = Config.fromfile(config)
    assert exported.model.type == "EncoderDecoder"
    assert not {"train_dataloader", "optim_wrapper", "train_cfg"} & set(exported)
    plain = MODELS.build(exported.model).eval()
    plain.load_state_dict(load(weights)["state_dict"], strict=True)
    model = MODELS.build(trained.model).eval()
    model.load_state_dict(load(checkpoint)["state_dict"])
    dataset = DATASETS.build(exported.test_dataloader.dataset)
    loaded = pseudo_collate([dataset[0]])
    with torch.no_grad():
        ours = plain.test_step(copy.deepcopy(loaded))[0].seg_logits.data
        theirs = model.get_submodule(part).test_step(loaded)[0].seg_logits.data
    assert torch.equal(ours, theirs)
    # mmseg's own way to predict single images, which have no labels to load.
    plain.cfg = exported
    image = cv2.imread(dataset.get_data_info(0)["img_path"])
    assert torch.equal(inference_model(plain, image).seg_logits.data, ours)


def test_the_small_network_of_the_configs_is_exported(tmp_path):
    """mmdet's EfficientNet cannot be built without memory for it."""
    cfg = Config.fromfile(ROOT / "configs/multi_target/ccl_efflite0_streets-day-fog.py")
    cfg.model.segmentor.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "trained.pth")
    _, weights = export_segmentor(cfg, tmp_path / "trained.pth", tmp_path / "plain")
    state = load(weights)["state_dict"]
    for name, value in model.segmentor.state_dict().items():
        assert torch.equal(state[name], value)


def test_only_experts_that_are_there_can_be_exported(trained):
    with pytest.raises(ValueError, match=r"model\.experts\.green is no config of a segmentor"):
        segmentor_config(trained, "experts.green")


def test_figures_of_all_targets_are_the_students(trained, tmp_path, request):
    cfg = copy.deepcopy(trained)
    dataset = cfg.test_dataloader.dataset
    both = {
        name: {**dataset, "data_root": dataset.data_root.replace("/blue", f"/{name}")}
        for name in cfg.model.targets
    }
    cfg.test_dataloader.dataset = dict(type="mmext.DomainConcatDataset", datasets=both)
    cfg.load_from, cfg.work_dir = f"{trained.work_dir}/iter_4.pth", str(tmp_path)
    figures = build(cfg, request.node.name).test()
    assert figures["mIoU"] == pytest.approx((figures["blue/mIoU"] + figures["dark/mIoU"]) / 2)
