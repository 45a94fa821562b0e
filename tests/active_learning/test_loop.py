"""The loop: cycles, phases, what they begin with, what is logged, what is refused."""

import copy
import csv
import json
from typing import ClassVar

import pytest
import staged_head  # noqa: F401  (registers the head of these tests)
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_campaign import campaign_config

from mmext.engine import Runner

MIAOD_PHASES = [
    dict(name="label 1", stage="label", epochs=1),
    dict(name="min", stage="min", epochs=1, data="labeled+unlabeled", train=["*", "!*conv_cls*"]),
    dict(name="max", stage="max", epochs=1, data="labeled+unlabeled", train=["*conv_cls*"]),
    dict(name="label 2", stage="label", epochs=1, repeat=2),
]


@HOOKS.register_module(force=True)
class Diary(Hook):
    """Notes what hooks of mmengine's read while a campaign runs."""

    entries: ClassVar[list[dict]] = []
    weights: ClassVar[list[dict]] = []

    def before_train(self, runner):
        Diary.entries, Diary.weights = [], []

    def before_train_epoch(self, runner):
        Diary.weights.append(copy.deepcopy(runner.model.state_dict()))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loop = runner.train_loop
        entry = dict(
            iter=runner.iter,
            epoch=runner.epoch,
            lr=runner.optim_wrapper.get_lr()["lr"][0],
            phase=loop.position.phase,
            ids=[sample.pool_id for sample in data_batch["data_samples"]],
            learning={n for n, p in runner.model.named_parameters() if p.requires_grad},
            momenta=len(runner.optim_wrapper.optimizer.state),
            outputs=set(outputs),
        )
        Diary.entries.append(entry)


def with_diary(cfg: Config) -> Config:
    cfg.custom_hooks = [dict(type="Diary")]
    return cfg


def run(cfg: Config, name: str) -> Runner:
    cfg.experiment_name = name
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def test_a_campaign_of_plain_training(pool_data, tmp_path, request):
    """Budget, monotone counters, fresh schedules, checkpoints and figures of each cycle."""
    runner = run(with_diary(campaign_config(pool_data, tmp_path)), request.node.name)
    loop = runner.train_loop
    assert [len(images) for images in loop.pool.cycles] == [4, 3]
    assert runner.iter == loop.max_iters == 2 * 2 + 2 * 4
    assert runner.epoch == loop.max_epochs == 4
    assert [entry["iter"] for entry in Diary.entries] == list(range(12))
    assert [entry["epoch"] for entry in Diary.entries] == [0] * 2 + [1] * 2 + [2] * 4 + [3] * 4
    rates = [entry["lr"] for entry in Diary.entries]
    assert rates[0] == rates[4] == pytest.approx(0.005)  # the warm-up begins anew
    assert rates[3] == rates[11] == pytest.approx(0.01)
    first, second = (
        {image for e in Diary.entries for image in e["ids"] if (e["epoch"] > 1) == later}
        for later in (False, True)
    )
    assert sorted(first) == loop.pool.cycles[0]
    assert sorted(second) == loop.pool.labeled()
    rows = list(csv.DictReader((tmp_path / "active_learning.csv").open()))
    assert [row["labeled"] for row in rows] == ["4", "7"]
    assert [row["boxes"] for row in rows] == ["8", "14"]  # two in each image
    assert all(float(row["seconds"]) > 0 and float(row["coco/bbox_mAP"]) >= 0 for row in rows)
    assert (tmp_path / "cycle_0.pth").is_file()
    assert (tmp_path / "last_checkpoint").read_text().endswith("cycle_1.pth")
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "cycle 2/2: 7 of 12 images are labelled" in log
    assert "eta: " in log


def test_each_cycle_begins_with_the_initial_weights(pool_data, tmp_path, request):
    """Or, if wanted, with those of the last."""
    for reinit in (True, False):
        folder = tmp_path / str(reinit)
        cfg = with_diary(campaign_config(pool_data, folder, reinit=reinit))
        cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
        run(cfg, f"{request.node.name}{reinit}")
        trained = torch.load(folder / "cycle_0.pth", weights_only=False)["state_dict"]
        first, _, second, _ = Diary.weights
        expected = first if reinit else trained
        assert all(torch.equal(second[name], value) for name, value in expected.items())
        assert any(not torch.equal(trained[name], value) for name, value in first.items())


def test_phases_of_an_adversarial_training(pool_data, tmp_path, request):
    """Stages, parameters, two steps per iteration, no box of an unlabelled image, fresh momenta."""
    cfg = with_diary(campaign_config(pool_data, tmp_path, phases=MIAOD_PHASES))
    cfg.model.bbox_head.type = "StagedFCOSHead"
    cfg.train_cfg.phases[3].param_scheduler = []
    cfg.train_cfg.phases[3].optim_wrapper = dict(optimizer=dict(lr=0.5e-2))
    runner = run(cfg, request.node.name)
    head = runner.model.bbox_head
    assert head.stages == ["label", "min", "max", "label"] * 2
    batches = {stage: [seen for seen in head.seen if seen[0] == stage] for stage in head.stages}
    assert [labeled for _, labeled, _ in batches["min"]] == [True, False] * 6
    assert all(labeled == (boxes > 0) for _, labeled, boxes in head.seen)
    classifier = {n for n, _ in runner.model.named_parameters() if "conv_cls" in n}
    for entry in Diary.entries:
        if entry["phase"] == 1:
            assert not entry["learning"] & classifier
        if entry["phase"] == 2:
            assert entry["learning"] == classifier
        assert ("unlabeled_loss_unlabeled" in entry["outputs"]) == (entry["phase"] in (1, 2))
        assert entry["momenta"] <= len(entry["learning"])
    assert {e["lr"] for e in Diary.entries if e["phase"] == 3} == {0.5e-2}
    assert runner.iter == loop_length(4) + loop_length(7)


def loop_length(labeled: int) -> int:
    """Batches of two in the four phases; the last has every image twice."""
    return 3 * -(-labeled // 2) + labeled


def test_alternating_phases_need_a_stage_and_a_head(pool_data, tmp_path):
    phases = [dict(name="u", epochs=1, data="labeled+unlabeled")]
    with pytest.raises(ValueError, match=r"phases\[0\] learns from unlabelled images without"):
        Runner.from_cfg(campaign_config(pool_data, tmp_path / "a", phases=phases)).train()
    phases[0]["stage"] = "min"
    with pytest.raises(ValueError, match="no part of the FCOS has set_stage"):
        Runner.from_cfg(campaign_config(pool_data, tmp_path / "b", phases=phases)).train()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(cycles=4), r"come to 13 labelled images, and the pool has 12"),
        (dict(budget=dict(initial=4, step=0)), "Expected numbers of 1 or more"),
        (dict(phases=[]), "phases is empty"),
        (dict(phases=[dict(name="a", epochs=1, lr=1)]), r"phases\[0\] has the fields"),
        (dict(phases=[dict(name="a", epochs=1, data="all")]), "data is 'all'"),
        (dict(phases=[dict(name="a", epochs=1, train=["nek.*"])]), "'nek.*'"),
        (dict(scoring=dict(subset=2)), "subset is 2"),
    ],
)
def test_refuses_what_cannot_work(pool_data, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(campaign_config(pool_data, tmp_path, **changes)).train()


def test_refuses_data_that_leak_and_samplers_without_epochs(pool_data, tmp_path):
    cfg = campaign_config(pool_data, tmp_path)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=inner)
    with pytest.raises(ValueError, match="RepeatDataset mixes or repeats"):
        Runner.from_cfg(cfg).train()
    cfg.train_dataloader.dataset = inner
    cfg.train_dataloader.sampler.type = "InfiniteSampler"
    with pytest.raises(ValueError, match="InfiniteSampler knows no epochs"):
        Runner.from_cfg(cfg).train()


def test_images_twice_in_the_annotations_are_refused(pool_data, tmp_path):
    content = json.loads((pool_data / "annotations.json").read_text())
    content["images"].append(dict(content["images"][0], id=99))
    (tmp_path / "twice.json").write_text(json.dumps(content))
    cfg = campaign_config(pool_data, tmp_path / "work")
    cfg.train_dataloader.dataset.ann_file = str(tmp_path / "twice.json")
    with pytest.raises(ValueError, match=r"1 ids twice, the first is 'images/0.png'"):
        Runner.from_cfg(cfg).train()


def test_learns_from_images_without_boxes(pool_data, tmp_path, request):
    """Half of the pool is empty; the images are selected and trained on like others."""
    content = json.loads((pool_data / "annotations.json").read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] % 2]
    (tmp_path / "sparse.json").write_text(json.dumps(content))
    cfg = campaign_config(pool_data, tmp_path / "work", budget=dict(initial=6, step=6))
    cfg.train_dataloader.dataset.ann_file = str(tmp_path / "sparse.json")
    runner = run(cfg, request.node.name)
    assert len(runner.train_loop.pool.labeled()) == 12
    assert len(runner.train_loop.pool.history) == 2
    assert all(p.isfinite().all() for p in runner.model.parameters())


def test_mixed_precision_reaches_every_phase(pool_data, tmp_path, request):
    """As tools/train.py --amp sets it; a phase that changes the optimiser keeps it."""
    phases = [dict(name="a", epochs=1, optim_wrapper=dict(optimizer=dict(lr=1e-3)))]
    cfg = campaign_config(pool_data, tmp_path, phases=phases, cycles=1)
    cfg.optim_wrapper.type = "mmext.CPUAmpOptimWrapper"
    runner = run(cfg, request.node.name)
    assert type(runner.optim_wrapper).__name__ == "CPUAmpOptimWrapper"
    assert runner.optim_wrapper.optimizer.defaults["lr"] == 1e-3
    assert runner.iter == 2
