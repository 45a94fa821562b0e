"""Dual-level domain mixing as one training: stages, what they hand on, and whole runs of others."""

import copy
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from tiny_segmentation import LABELS, LOAD, PACK, domain, segmentor, tiny_config, write_domains

from mmext.registry import SCHEDULES
from mmext.segmentation.adaptation.dual_level_schedule import dual_level_stages

NAMES = [
    *("r1-region", "r1-sample", "r1-student"),
    *("r2-labels", "r2-region", "r2-sample", "r2-student"),
]


def dual_level(root: Path, work_dir: Path) -> Config:
    """Return the tiny config with two rounds of two iterations and four labelled images."""
    cfg = tiny_config(root, work_dir, max_iters=2)
    few = dict(domain(root, "blue", [LOAD, LABELS, PACK]), indices=4)
    cfg.train_dataloader.dataset.sources.few = few
    cfg.model = dict(
        type="mmext.TeacherDistillation",
        segmentor=segmentor(),
        teachers=dict(region=segmentor(), sample=segmentor()),
    )
    del cfg.optim_wrapper["discriminator"]
    cfg.schedule = dict(
        type="mmext.DualLevelSchedule",
        labelled_target="few",
        rounds=2,
        student=dict(train_cfg=dict(max_iters=3)),
        pseudo_labels=dict(kind="fixed", ceiling=0.4),
    )
    cfg.launcher = "none"
    return cfg


def run(cfg: Config, only: str | None = None) -> Path:
    cfg = copy.deepcopy(cfg)
    return SCHEDULES.build(cfg.schedule).run(cfg, only)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Config:
    root = tmp_path_factory.mktemp("dual")
    cfg = dual_level(write_domains(root / "data"), root / "work")
    assert run(cfg) == root / "work" / "r2-student" / "iter_3.pth"
    return cfg


def load(folder: Path) -> dict:
    return torch.load(next(folder.glob("*.pth")), weights_only=False)["state_dict"]


def test_stages_and_what_they_need():
    stages = {stage.name: stage for stage in dual_level_stages(2)}
    assert [*stages] == NAMES
    assert stages["r1-region"].needs == {}
    assert stages["r1-student"].needs == dict(region="r1-region", sample="r1-sample")
    assert stages["r2-labels"].needs == dict(student="r1-student")
    assert stages["r2-region"].needs == dict(labels="r2-labels")
    assert stages["r2-student"].needs == dict(
        region="r2-region", sample="r2-sample", labels="r2-labels"
    )
    with pytest.raises(ValueError, match=r"schedule\.rounds is 0"):
        dual_level_stages(0)


def test_runs_to_the_end(whole):
    folder = Path(whole.work_dir)
    state = json.loads((folder / "schedule.json").read_text())
    assert [*state["stages"]] == NAMES
    configs = {
        name: Config.fromfile(next((folder / name).glob("*.py")))
        for name in NAMES
        if not name.endswith("labels")
    }
    for name, cfg in configs.items():
        dataset, second = cfg.train_dataloader.dataset, name.startswith("r2")
        student = name.endswith("student")
        assert set(dataset.sources) == {"few"} if student else {"red", "few"}
        assert bool(dataset.targets) == student
        assert (dataset.sources.few.type == "ConcatDataset") == second
        if second:
            pseudo = dataset.sources.few.datasets[1]
            assert pseudo.label_dir.endswith("r2-labels/labels/blue")
            assert len(list(Path(pseudo.label_dir).glob("*.png"))) == 8
        assert (folder / name / "figures.json").is_file()
    kinds = [configs[name].model.type for name in NAMES[:3]]
    assert kinds == ["mmext.RegionMixing", "mmext.BDL", "mmext.TeacherDistillation"]


def test_the_student_has_the_teachers_of_its_round(whole):
    folder = Path(whole.work_dir)
    for number in (1, 2):
        student = load(folder / f"r{number}-student")
        for level in ("region", "sample"):
            teacher = load(folder / f"r{number}-{level}")
            for name, value in teacher.items():
                key = name.replace("segmentor.", f"teachers.{level}.", 1)
                assert torch.equal(student[key], value), key


def test_unusable_configs_are_refused(whole):
    cfg = copy.deepcopy(whole)
    cfg.schedule.labelled_target = "some"
    with pytest.raises(ValueError, match=r"schedule\.labelled_target='some'"):
        run(cfg)
    cfg = copy.deepcopy(whole)
    del cfg.model.teachers["sample"]
    with pytest.raises(ValueError, match=r"model\.teachers are \['region'\]"):
        run(cfg)
    cfg.model = dict(type="mmext.BDL", segmentor=segmentor())
    with pytest.raises(ValueError, match=r"model\.type is 'mmext\.BDL'"):
        run(cfg)
