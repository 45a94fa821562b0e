"""The tool that tests with weights of other scenes, and with the type of the room told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS, RUNNERS

from mmext.detection3d.info_files import read_infos
from mmext.embedded import rooms

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("analysis_tools/scene_prior.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    counts = {"train": 4, "val": 3}  # a training room of each type
    return rooms.prepare(tmp_path_factory.mktemp("data") / "rooms", counts=counts)


class SumOfCentres(BaseMetric):
    """The sum of the coordinates of all boxes; scene by scene, so that order counts."""

    default_prefix = "sum"

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            centres = sample["pred_instances_3d"]["bboxes_3d"].tensor[:, :3]
            self.results.append((centres.double().sum().item(), len(centres)))

    def compute_metrics(self, results):
        sums, counts = zip(*results, strict=True)
        return {"mAP": float(np.dot(sums, range(1, len(sums) + 1))), "boxes": sum(counts)}


@pytest.fixture(autouse=True)
def metric(monkeypatch):
    monkeypatch.setitem(METRICS.module_dict, "SumOfCentres", SumOfCentres)


def config(data, work_dir, name, method="hyperdet3d/hyperdet3d"):
    cfg = Config.fromfile(ROOT / f"configs/{method}_rooms.py")
    cfg.work_dir, cfg.launcher = str(work_dir), "none"
    cfg.experiment_name = f"{work_dir.name}-{name}"
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data)
    cfg.test_dataloader.dataset.pipeline[2].num_points = 1024
    cfg.model.test_cfg.min_points = 0
    cfg.test_evaluator = dict(type="SumOfCentres")
    return cfg


def test_another_scene_for_each(tool):
    for count in (2, 3, 60):
        others = tool.other_scenes(count)
        assert sorted(others) == list(range(count))
        assert not np.equal(others, np.arange(count)).any()
    with pytest.raises(ValueError, match="1 scenes: expected two or more"):
        tool.other_scenes(1)


def test_weights_are_swapped(tool, data, tmp_path):
    cfg = config(data, tmp_path, "swap")
    model = RUNNERS.build(cfg).model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("decoder_hyper.", "decoder_branches.")):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    load_from = str(tmp_path / "model.pth")
    torch.save(dict(state_dict=model.state_dict(), meta={}), load_from)
    cfg.load_from = load_from
    figures, statistics = tool.run(cfg)
    assert list(figures) == [tool.AS_IS, tool.SWAPPED, tool.TOLD]
    cfg = config(data, tmp_path, "plain")
    cfg.load_from = load_from
    runner = RUNNERS.build(cfg)
    plain = runner.test()["sum/mAP"]
    assert figures[tool.AS_IS]["sum/mAP"] == pytest.approx(plain, rel=1e-4)
    assert figures[tool.SWAPPED]["sum/mAP"] != pytest.approx(plain, rel=1e-4)
    dataset = runner.test_loop.dataloader.dataset
    points = torch.stack([dataset[index]["inputs"]["points"] for index in range(3)])
    expected = runner.model.eval().diagnose(points)
    assert statistics.figures() == pytest.approx(tuple(expected.values()), rel=1e-4)
    *_, own, swapped, _ = tool.markdown_table(figures).splitlines()
    assert own.startswith("| as it is | ")
    assert swapped.startswith("| weights of another scene | ")


def test_only_classes_that_rooms_of_the_type_have(tool, data, tmp_path):
    figures, statistics = tool.run(config(data, tmp_path, "t", "group_free3d/group-free3d"))
    assert statistics is None
    assert list(figures) == [tool.AS_IS, tool.TOLD]
    train, val = (read_infos(str(data / f"rooms_oriented_{s}.pkl")) for s in ("train", "val"))
    names = {scene["scene_type"]: set(scene["names"]) for scene in train.records}
    # Every box of this detector comes once for each of the ten classes.
    boxes = figures[tool.AS_IS]["sum/boxes"]
    assert boxes > 0
    kept = sum(len(names[scene["scene_type"]]) for scene in val.records) / (10 * len(val.records))
    assert figures[tool.TOLD]["sum/boxes"] == pytest.approx(kept * boxes, rel=0.1)


def test_nothing_to_compare_with(tool, data, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "classes_by_type", lambda dataset: {})
    cfg = config(data, tmp_path, "agnostic")
    cfg.model.hyper.fusion = "agnostic"
    with pytest.raises(ValueError, match="nothing to compare with"):
        tool.run(cfg)
