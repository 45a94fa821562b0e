"""The tool that tests HyperDet3D with the weights of other scenes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS, RUNNERS

from mmext.embedded import rooms

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("analysis_tools/scene_prior.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return rooms.prepare(tmp_path_factory.mktemp("data") / "rooms", counts={"val": 3})


class SumOfCentres(BaseMetric):
    """The sum of the coordinates of all boxes; scene by scene, so that order counts."""

    default_prefix = "sum"

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            centres = sample["pred_instances_3d"]["bboxes_3d"].tensor[:, :3]
            self.results.append(centres.double().sum().item())

    def compute_metrics(self, results):
        return {"mAP": float(np.dot(results, range(1, len(results) + 1)))}


def config(data, work_dir, fusion="mul", method="hyperdet3d/hyperdet3d"):
    cfg = Config.fromfile(ROOT / f"configs/{method}_rooms.py")
    if method.startswith("hyperdet3d"):
        cfg.model.hyper.fusion = fusion
    cfg.work_dir, cfg.launcher = str(work_dir), "none"
    cfg.experiment_name = f"{work_dir.name}-{fusion}"
    dataset = cfg.test_dataloader.dataset
    dataset.data_root = str(data)
    dataset.pipeline[2].num_points = 1024
    cfg.model.test_cfg.min_points = 0
    cfg.test_evaluator = dict(type="SumOfCentres")
    return cfg


def test_another_scene_for_each(tool):
    for count in (2, 3, 60):
        others = tool.other_scenes(count)
        assert sorted(others) == list(range(count))
        assert (others != np.arange(count)).all()
    with pytest.raises(ValueError, match="1 scenes: expected two or more"):
        tool.other_scenes(1)


def test_weights_are_swapped(tool, data, tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS.module_dict, "SumOfCentres", SumOfCentres)
    cfg = config(data, tmp_path)
    model = RUNNERS.build(cfg).model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("decoder_hyper.", "decoder_branches.")):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    cfg.load_from = str(tmp_path / "model.pth")
    torch.save(dict(state_dict=model.state_dict(), meta={}), cfg.load_from)
    cfg.experiment_name = "swap"
    figures, statistics = tool.swap_weights(cfg)
    cfg.experiment_name = "plain"
    runner = RUNNERS.build(cfg)
    plain = runner.test()
    assert figures["its own"]["sum/mAP"] == pytest.approx(plain["sum/mAP"], rel=1e-4)
    assert figures["another scene's"]["sum/mAP"] != pytest.approx(plain["sum/mAP"], rel=1e-4)
    dataset = runner.test_loop.dataloader.dataset
    points = torch.stack([dataset[index]["inputs"]["points"] for index in range(3)])
    expected = runner.model.eval().diagnose(points)
    assert statistics.figures() == pytest.approx(tuple(expected.values()), rel=1e-4)
    *_, own, other = tool.markdown_table(figures).splitlines()
    assert own.startswith("| its own | ")
    assert own != other


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(fusion="agnostic"), "all scenes have the same weights"),
        (dict(method="group_free3d/group-free3d"), "Expected 'mmext.HyperDet3D'"),
    ],
)
def test_models_without_weights_of_scenes(tool, data, tmp_path, monkeypatch, options, match):
    monkeypatch.setitem(METRICS.module_dict, "SumOfCentres", SumOfCentres)
    cfg = config(data, tmp_path, **options)
    with pytest.raises(ValueError, match=match):
        tool.swap_weights(cfg)
