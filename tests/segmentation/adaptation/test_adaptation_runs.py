"""Whole runs: training, resuming, two processes, export to mmseg, pseudo labels by the tool."""

import copy
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from tiny_segmentation import LABELS, LOAD, PACK, domain, tiny_config, write_domains

from mmext.engine import AveragedDataParallel, Runner
from mmext.segmentation.adaptation import export_segmentor, segmentor_config
from mmext.segmentation.adaptation.labelling import TargetLabeller, target_config
from mmext.segmentation.pseudo_labels import PseudoLabelRule, PseudoLabelWriter

ROOT = Path(__file__).resolve().parents[3]


def build(cfg: Config, name: str) -> Runner:
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = name
    return Runner.from_cfg(cfg)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The config of a run of four iterations, with checkpoints after two and four."""
    root = tmp_path_factory.mktemp("adaptation")
    cfg = tiny_config(write_domains(root / "data"), root / "work")
    runner = build(cfg, "trained")
    runner.train()
    return cfg


def load(path):
    return torch.load(path, weights_only=False)


def assert_equal(ours, theirs, path=""):
    """Compare nested values, tensors bit by bit."""
    assert type(ours) is type(theirs), path
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), path
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), path
        for key in ours:
            assert_equal(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), path
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(*pair, f"{path}[{index}]")
    else:
        assert ours == theirs, path


def test_resuming_restores_both_networks_optimisers_schedules_and_the_data(
    trained, tmp_path, request
):
    """Two iterations and two more end, bit by bit, where four in one go do."""
    cfg = copy.deepcopy(trained)
    cfg.work_dir = str(tmp_path)
    cfg.load_from, cfg.resume = f"{trained.work_dir}/iter_2.pth", True
    runner = build(cfg, request.node.name)
    runner.train()
    assert runner.iter == 4
    whole, resumed = load(f"{trained.work_dir}/iter_4.pth"), load(tmp_path / "iter_4.pth")
    assert {name.partition(".")[0] for name in whole["state_dict"]} == {
        "segmentor",
        "discriminator",
    }
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert set(whole[part]) >= {"segmentor", "discriminator"} or part == "state_dict"
        assert_equal(resumed[part], whole[part], part)
    half = load(f"{trained.work_dir}/iter_2.pth")
    moved = [not torch.equal(half["state_dict"][k], v) for k, v in whole["state_dict"].items()]
    assert all(moved)
    rates = [whole["optimizer"][name]["param_groups"][0]["lr"] for name in whole["optimizer"]]
    assert 0.9 * 0.02 < rates[0] < 0.02  # the poly schedule of each optimiser has begun
    assert 0.9 * 1e-3 < rates[1] < 1e-3


def _train(cfg: Config, rank: int, world: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    runner = Runner.from_cfg(cfg)
    assert isinstance(runner.model, AveragedDataParallel)
    runner.train()


def test_two_processes_equal_one(domains, tmp_path, request):
    """Two gloo processes of batch 2 end with the weights of one of batch 4."""
    single = tiny_config(domains, tmp_path / "one", max_iters=2, batch_size=4)
    double = tiny_config(domains, tmp_path / "two", max_iters=2, batch_size=2)
    double.launcher = "pytorch"
    double.experiment_name = request.node.name + "_two"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")  # what is imported is there already
    workers = [context.Process(target=_train, args=(double, rank, 2, port)) for rank in range(2)]
    for worker in workers:
        worker.start()
    build(single, request.node.name).train()
    for worker in workers:
        worker.join(240)
        assert worker.exitcode == 0
    one, two = (load(tmp_path / name / "iter_2.pth") for name in ("one", "two"))
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_validation_of_several_domains(trained, tmp_path, request):
    cfg = copy.deepcopy(trained)
    root = Path(trained.test_dataloader.dataset.data_root).parent
    both = {name: domain(root, name, [LOAD, LABELS, PACK]) for name in ("red", "blue")}
    cfg.test_dataloader.dataset = dict(type="mmext.DomainConcatDataset", datasets=both)
    cfg.load_from, cfg.work_dir = f"{trained.work_dir}/iter_4.pth", str(tmp_path)
    figures = build(cfg, request.node.name).test()
    assert figures["mIoU"] == pytest.approx((figures["red/mIoU"] + figures["blue/mIoU"]) / 2)


def test_exported_model_is_tested_by_mmsegs_own_tool(trained, tmp_path, request):
    checkpoint = f"{trained.work_dir}/iter_4.pth"
    config, weights = export_segmentor(trained, checkpoint, tmp_path / "plain")
    cfg = copy.deepcopy(trained)
    cfg.load_from, cfg.work_dir = checkpoint, str(tmp_path / "ours")
    ours = build(cfg, request.node.name).test()
    exported = Config.fromfile(config)
    assert exported.model.type == "EncoderDecoder"
    assert not {"train_dataloader", "optim_wrapper", "train_cfg"} & set(exported)
    # mmseg's tool knows the parts of this test only if it is told where they are.
    exported.custom_imports = dict(imports=["tiny_segmentation"], allow_failed_imports=False)
    exported.dump(config)
    tool = Path(mmseg.__file__).parent / ".mim" / "tools" / "test.py"
    command = [sys.executable, str(tool), str(config), str(weights)]
    command += ["--work-dir", str(tmp_path / "theirs")]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"mIoU: {ours['mIoU']:.4f}" in done.stdout + done.stderr


def test_export_refuses_what_does_not_fit(trained, tmp_path):
    checkpoint = f"{trained.work_dir}/iter_4.pth"
    other = copy.deepcopy(trained)
    other.model.segmentor.decode_head.num_classes = 5
    with pytest.raises(ValueError, match=r"iter_4\.pth is not a checkpoint of this config: 2 of"):
        export_segmentor(other, checkpoint, tmp_path / "plain")
    with pytest.raises(ValueError, match=r"model\.student is no config of a segmentor"):
        segmentor_config(trained, "student")
    assert not (tmp_path / "plain").exists()


def test_preprocessor_of_the_wrapper_goes_with_the_export(trained):
    cfg = copy.deepcopy(trained)
    plain = cfg.model.segmentor.pop("data_preprocessor")
    for outer in (plain, dict(type="mmext.MultiDomainDataPreprocessor", default=plain)):
        cfg.model.data_preprocessor = outer
        assert segmentor_config(cfg).model.data_preprocessor == plain


def test_pseudo_labels_of_the_trained_model(trained, tmp_path, request):
    """Written by the labeller, they train the next round; the target's labels stay unread."""
    cfg = copy.deepcopy(trained)
    blue = Path(trained.test_dataloader.dataset.data_root)
    labeller = TargetLabeller(cfg, f"{trained.work_dir}/iter_4.pth", device="cpu")
    folder = tmp_path / "pseudo"
    rule = PseudoLabelRule(ceiling=0.5)
    writer = PseudoLabelWriter(folder, labeller.num_classes, rule, dict(checkpoint="x"))
    content = labeller.write(writer)
    assert content["images"] == len(labeller) == 8
    assert len(list(folder.glob("*.png"))) == len(list((blue / "images").iterdir()))
    target = cfg.train_dataloader.dataset.targets.blue
    target.pipeline = [LOAD, LABELS, PACK]
    cfg.train_dataloader.dataset.targets.blue = dict(
        type="mmext.PseudoLabelDataset", dataset=target, label_dir=str(folder)
    )
    cfg.work_dir, cfg.train_cfg.max_iters = str(tmp_path / "work"), 1
    runner = build(cfg, request.node.name)
    runner.train()
    assert "blue.decode.loss_ce" in str(runner.message_hub.log_scalars.keys())
    assert target_config(cfg, None).type == "mmext.FolderSegDataset"
    with pytest.raises(ValueError, match="Name one of them with --domain"):
        target_config(cfg, "green")


def test_wrapper_broadcasts_nothing_in_a_single_process(trained):
    model = MODELS.build(trained.model)
    wrapped = AveragedDataParallel(model)
    assert wrapped.module is model
    inputs = torch.zeros(1, 3, 32, 64)
    torch.testing.assert_close(wrapped(inputs), model(inputs))
