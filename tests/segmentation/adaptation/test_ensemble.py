"""Several segmentors as one: prediction, whole runs that are resumed, export of one or all."""

import copy
import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS
from tiny_segmentation import LABELS, LOAD, PACK, domain, segmentor, tiny_config, write_domains

from mmext.engine import Runner
from mmext.segmentation.adaptation import export_segmentor, segmentor_config
from mmext.segmentation.adaptation.labelling import TargetLabeller


def ensemble(names=("a", "b"), **options):
    torch.manual_seed(0)
    members = {name: segmentor() for name in names}
    model = MODELS.build(dict(type="mmext.SegmentorEnsemble", members=members) | options)
    # Spread out, so that the mean of probabilities is not that of logits.
    for member in model.members.values():
        member.decode_head.conv_seg.weight.data.normal_(std=3)
    return model.eval()


@pytest.fixture
def loaded(domains):
    dataset = DATASETS.build(domain(domains, "blue", [LOAD, LABELS, PACK]))
    return lambda: pseudo_collate([dataset[0], dataset[1]])


@pytest.mark.parametrize("share", [False, True])
def test_predicts_by_the_mean_of_probabilities(loaded, share):
    model = ensemble(share_backbone=share)
    passes = []
    model.members["a"].backbone[0].register_forward_hook(lambda *args: passes.append(1))
    with torch.no_grad():
        found = model.test_step(loaded())
        assert len(passes) == 1
        alone = [member.test_step(loaded()) for member in model.members.values()]
    for sample, *others in zip(found, *alone, strict=True):
        mean = sum(other.seg_logits.data.softmax(0) for other in others) / 2
        torch.testing.assert_close(sample.seg_logits.data.softmax(0), mean)
        assert torch.equal(sample.pred_sem_seg.data[0], mean.argmax(0))
    # And its raw output is that of the same mean at the networks' own stride.
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        raw = sum(member(images).softmax(1) for member in model.members.values()) / 2
        torch.testing.assert_close(model(images).exp(), raw)


def test_one_member_is_tested_alone(loaded):
    model = ensemble(test="b")
    with torch.no_grad():
        found, expected = model.test_step(loaded()), model.members["b"].test_step(loaded())
        images = torch.randn(1, 3, 32, 64)
        torch.testing.assert_close(model(images), model.members["b"](images))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.seg_logits.data, theirs.seg_logits.data)


def test_members_begin_with_their_initial_weights(tmp_path):
    """Also those below a dict of modules: mmengine's, since torch's own hands nothing on."""
    torch.manual_seed(0)
    trained = MODELS.build(segmentor())
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / "init.pth")
    begun = segmentor()
    begun["init_cfg"] = dict(type="Pretrained", checkpoint=str(tmp_path / "init.pth"))
    members = dict(a=segmentor(), b=begun)
    model = MODELS.build(dict(type="mmext.SegmentorEnsemble", members=members))
    model.init_weights()
    found = {name: member.state_dict() for name, member in model.members.items()}
    for name, value in trained.state_dict().items():
        assert torch.equal(found["b"][name], value)
    assert not torch.equal(found["a"]["backbone.0.weight"], found["b"]["backbone.0.weight"])


def test_wrong_members_are_named():
    with pytest.raises(ValueError, match=r"members \['a', 'b'\] and test='c'"):
        ensemble(test="c")
    with pytest.raises(ValueError, match="none of the name 'ensemble'"):
        ensemble(("ensemble",))
    with pytest.raises(TypeError, match=r"segmentor\.members\.x builds a TinyDiscriminator"):
        MODELS.build(
            dict(type="mmext.SegmentorEnsemble", members=dict(x=dict(type="TinyDiscriminator")))
        )
    other = segmentor()
    other["decode_head"]["num_classes"] = 4
    with pytest.raises(ValueError, match=r"members\.x has 4 outputs, the first member 3"):
        MODELS.build(dict(type="mmext.SegmentorEnsemble", members=dict(a=segmentor(), x=other)))


def config(root: Path, work_dir: Path, model: dict) -> Config:
    cfg = tiny_config(root, work_dir)
    cfg.train_dataloader.dataset.sources = {
        name: domain(root, "red", [LOAD, LABELS, PACK]) for name in ("a", "b")
    }
    cfg.model = model
    del cfg.optim_wrapper["discriminator"]
    cfg.custom_hooks = [dict(type="mmext.IterationSeedHook")]
    return cfg


MULTI_SOURCE = dict(
    type="mmext.MultiSourceAdaptation",
    segmentor=dict(
        type="mmext.SegmentorEnsemble", members=dict(a=segmentor(), b=segmentor()), test="ensemble"
    ),
    ramp_iters=4,
)
CLASS_MIX = dict(type="mmext.ClassMixAdaptation", segmentor=segmentor())


def train(cfg: Config, name: str) -> Runner:
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = name
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.fixture(scope="module", params=[MULTI_SOURCE, CLASS_MIX], ids=["sources", "mixing"])
def trained(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    cfg = config(write_domains(root / "data"), root / "work", copy.deepcopy(request.param))
    train(cfg, f"whole-{request.param['type']}")
    return cfg


def load(path):
    return torch.load(path, weights_only=False)


def test_a_resumed_run_ends_as_a_whole_one(trained, tmp_path):
    """Bit by bit: weights, momenta, the teacher's, and how much pseudo labels count."""
    cfg = copy.deepcopy(trained)
    cfg.work_dir, cfg.resume = str(tmp_path), True
    cfg.load_from = f"{trained.work_dir}/iter_2.pth"
    train(cfg, f"resumed-{cfg.model.type}")
    whole, resumed = load(f"{trained.work_dir}/iter_4.pth"), load(tmp_path / "iter_4.pth")
    for name, value in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value), name
    momenta = (run["optimizer"]["segmentor"]["state"].values() for run in (whole, resumed))
    for ours, theirs in zip(*momenta, strict=True):
        assert torch.equal(ours["momentum_buffer"], theirs["momentum_buffer"])


def _train(cfg: Config, rank: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.set_num_threads(1)
    train(cfg, f"two-{rank}")


def test_two_processes_equal_one(domains, tmp_path):
    """Without a target: its pseudo labels are those of each process's own batch."""
    runs = {}
    for name, size in (("one", 4), ("two", 2)):
        cfg = config(domains, tmp_path / name, copy.deepcopy(MULTI_SOURCE))
        cfg.model.segmentor.share_backbone = True
        cfg.train_dataloader.dataset.targets = {}
        cfg.train_dataloader.batch_size, cfg.train_cfg.max_iters = size, 2
        runs[name] = cfg
    runs["two"].launcher = "pytorch"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")  # what is imported is there already
    workers = [context.Process(target=_train, args=(runs["two"], k, port)) for k in range(2)]
    for worker in workers:
        worker.start()
    train(runs["one"], "one")
    for worker in workers:
        worker.join(240)
        assert worker.exitcode == 0
    one, two = (load(tmp_path / name / "iter_2.pth")["state_dict"] for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_export_of_one_model_and_of_all(trained, tmp_path):
    checkpoint = f"{trained.work_dir}/iter_4.pth"
    state = load(checkpoint)["state_dict"]
    several = trained.model.type == "mmext.MultiSourceAdaptation"
    parts = ["segmentor", *(["segmentor.members.b"] if several else [])]
    for number, part in enumerate(parts):
        file, weights = export_segmentor(trained, checkpoint, tmp_path / str(number), part=part)
        model = MODELS.build(Config.fromfile(file).model)
        model.load_state_dict(load(weights)["state_dict"], strict=True)
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[f"{part}.{name}"])
    if several:
        assert Config.fromfile(file).model.type == "EncoderDecoder"
        with pytest.raises(ValueError, match=r"model\.segmentor\.members is no config"):
            segmentor_config(trained, "segmentor.members")
        with pytest.raises(ValueError, match=r"there is no 'c' among \['a', 'b'\]"):
            segmentor_config(trained, "segmentor.members.c")


def test_pseudo_labels_are_those_of_what_is_tested(trained):
    labeller = TargetLabeller(trained, f"{trained.work_dir}/iter_4.pth", device="cpu")
    label, confidence = labeller.predict(next(labeller._items())[1]())
    assert label.shape == confidence.shape == (32, 64)
    assert confidence.min() > 1 / 3 - 1e-6
    assert confidence.max() <= 1
