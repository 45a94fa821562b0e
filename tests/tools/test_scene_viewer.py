"""The viewer's command: pictures of a config's scenes, with predictions and without."""

import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmext.detection3d.structures import Boxes3D
from mmext.embedded import rooms

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/_base_/datasets/rooms.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return rooms.prepare(tmp_path_factory.mktemp("data") / "rooms", counts={"val": 2})


def view(monkeypatch, data, *args):
    command = ["scene_viewer.py", CONFIG, "--data-root", str(data), *map(str, args)]
    monkeypatch.setattr(sys, "argv", command)
    runpy.run_path(str(ROOT / "tools/analysis_tools/scene_viewer.py"), run_name="__main__")


def test_pictures(data, tmp_path, monkeypatch):
    view(monkeypatch, data, "--out", tmp_path / "shown")
    names = sorted(path.name for path in (tmp_path / "shown").iterdir())
    assert names == ["val_0000.png", "val_0001.png"]
    found = dict(
        bboxes_3d=Boxes3D(np.array([[0.0, 0, 0.5, 1, 1, 1, 0.3]])),
        labels_3d=torch.tensor([2]),
        scores_3d=torch.tensor([0.9]),
    )
    content = pickle.dumps([dict(sample_idx="val_0001", pred_instances_3d=found)])
    (tmp_path / "found.pkl").write_bytes(content)
    options = ("--predictions", tmp_path / "found.pkl", "--scenes", "val_0001")
    view(monkeypatch, data, *options, "--out", tmp_path / "with")
    with_boxes = (tmp_path / "with/val_0001.png").read_bytes()
    assert with_boxes != (tmp_path / "shown/val_0001.png").read_bytes()


def test_bad_input(data, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"no scene \['cellar'\]; there are such as \['val_0000'"):
        view(monkeypatch, data, "--scenes", "cellar", "--out", tmp_path)
    with pytest.raises(SystemExit, match=r"scene_viewer: .*gone.pkl' does not exist"):
        view(monkeypatch, data, "--predictions", tmp_path / "gone.pkl", "--out", tmp_path)
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(SystemExit, match="pip install plotly"):
        view(monkeypatch, data, "--format", "html", "--out", tmp_path)
