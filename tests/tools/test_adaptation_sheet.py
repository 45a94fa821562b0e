"""The sheet of an adaptation: which images, which colours, how they are laid out; once for real."""

import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from tiny_segmentation import segmentor, tiny_config, write_domains

PALETTE = [[9, 9, 9], [0, 255, 0], [0, 0, 255]]


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
    titles = sheet.SOURCE_TITLES + sheet.TITLES
    drawn = sheet.compose([pictures, pictures], titles, 32)
    assert drawn.shape == (18 + 2 * 20, 6 * 36 - 4, 3)
    for column in range(6):
        assert (drawn[18:34, column * 36 : column * 36 + 32] == 10 * column).all()


@pytest.fixture
def command(sheet, tmp_path) -> list[str]:
    """Write data, a config and weights; return the command line so far."""
    data = write_domains(tmp_path / "data")
    cfg = tiny_config(data, tmp_path / "work")
    dataset = cfg.train_dataloader.dataset
    for domain in (dataset.sources.red, dataset.targets.blue, cfg.test_dataloader.dataset):
        domain.metainfo.palette = PALETTE
    cfg.dump(tmp_path / "config.py")
    weights = write_weights(sheet, cfg, tmp_path / "model.pth")
    out = str(tmp_path / "new" / "sheet.png")
    size = ["--rows", "2", "--width", "64"]
    return [str(tmp_path / "config.py"), weights, "--before", weights, "--out", out, *size]


def write_weights(sheet, cfg, path) -> str:
    """Write the initial weights of a config's model."""
    sheet.import_host("mmseg")
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def draw(sheet, command, monkeypatch, tmp_path, columns: int) -> list[np.ndarray]:
    """Run the tool; return the first row of the sheet."""
    monkeypatch.setattr(sys, "argv", ["sheet", *command])
    sheet.main()
    drawn = cv2.imread(str(tmp_path / "new" / "sheet.png"))
    assert drawn.shape == (18 + 2 * 36, columns * 68 - 4, 3)
    return [drawn[18:50, 68 * column : 68 * column + 64] for column in range(columns)]


def test_with_translations(sheet, command, tmp_path, monkeypatch, capsys):
    command += ["--translated", str(tmp_path / "data" / "red" / "images")]
    row = draw(sheet, command, monkeypatch, tmp_path, 6)
    assert str(tmp_path / "new" / "sheet.png") in capsys.readouterr().out
    assert (row[0] == row[1]).all()  # "translated" by copying
    assert (row[3] == row[4]).all()  # the same model
    labels = cv2.imread(str(tmp_path / "data/blue/labels/2.png"), cv2.IMREAD_UNCHANGED)
    assert (row[5] == np.array(PALETTE)[labels][..., ::-1]).all()


def test_another_model_before(sheet, command, tmp_path, monkeypatch):
    """Without translations; the model before has its own config, here one without adaptation."""
    torch.manual_seed(3)
    cfg = tiny_config(tmp_path / "data", tmp_path / "work")
    cfg.model = segmentor()
    cfg.dump(tmp_path / "plain.py")
    plain = write_weights(sheet, cfg, tmp_path / "plain.pth")
    command += ["--before", plain, "--before-config", str(tmp_path / "plain.py")]
    row = draw(sheet, command, monkeypatch, tmp_path, 4)
    assert (row[0] == cv2.imread(str(tmp_path / "data/blue/images/2.png"))).all()
    assert (row[1] != row[2]).any()
    labels = cv2.imread(str(tmp_path / "data/blue/labels/2.png"), cv2.IMREAD_UNCHANGED)
    assert (row[3] == np.array(PALETTE)[labels][..., ::-1]).all()
