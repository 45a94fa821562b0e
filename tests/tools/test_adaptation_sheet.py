"""The sheet of an adaptation: which images, which colours, how they are laid out; once for real."""

import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from tiny_segmentation import tiny_config, write_domains


@pytest.fixture(scope="module")
def sheet(load_tool):
    return load_tool("analysis_tools/adaptation_sheet.py")


def test_images_are_spread(sheet):
    assert sheet.spread(100, 4) == [12, 37, 62, 87]
    assert sheet.spread(1, 1) == [0]


def test_labels_in_colours(sheet):
    palette = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)  # red, blue in RGB
    picture = sheet.coloured(np.array([[0, 1, 255]], np.uint8), palette)
    assert picture.tolist() == [[[0, 0, 255], [255, 0, 0], [0, 0, 0]]]


def test_rows_and_columns(sheet):
    pictures = [np.full((8, 16, 3), 10 * column, np.uint8) for column in range(6)]
    drawn = sheet.compose([pictures, pictures], 32)
    assert drawn.shape == (18 + 2 * 20, 6 * 36 - 4, 3)
    for column in range(6):
        assert (drawn[18:34, column * 36 : column * 36 + 32] == 10 * column).all()


def test_the_tool(sheet, tmp_path, monkeypatch, capsys):
    data = write_domains(tmp_path / "data")
    cfg = tiny_config(data, tmp_path / "work")
    palette = [[9, 9, 9], [0, 255, 0], [0, 0, 255]]
    dataset = cfg.train_dataloader.dataset
    for domain in (dataset.sources.red, dataset.targets.blue, cfg.test_dataloader.dataset):
        domain.metainfo.palette = palette
    cfg.dump(tmp_path / "config.py")
    sheet.import_host("mmseg")
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "model.pth")
    weights = str(tmp_path / "model.pth")
    options = ["--translated", str(data / "red" / "images"), "--rows", "2", "--width", "64"]
    out = tmp_path / "new" / "sheet.png"
    command = [str(tmp_path / "config.py"), weights, "--before", weights, *options]
    monkeypatch.setattr(sys, "argv", ["sheet", *command, "--out", str(out)])
    sheet.main()
    assert str(out) in capsys.readouterr().out
    drawn = cv2.imread(str(out))
    assert drawn.shape == (18 + 2 * 36, 6 * 68 - 4, 3)
    columns = [drawn[18:50, 68 * column : 68 * column + 64] for column in range(6)]
    assert (columns[0] == columns[1]).all()  # "translated" by copying
    assert (columns[3] == columns[4]).all()  # the same model
    labels = cv2.imread(str(data / "blue" / "labels" / "2.png"), cv2.IMREAD_UNCHANGED)
    assert (columns[5] == np.array(palette)[labels][..., ::-1]).all()
