"""``tools/analysis_tools/image_sheet.py``: what stands where, and faults that are named."""

import sys

import cv2
import numpy as np
import pytest

WIDTH, HEIGHT = 40, 30


@pytest.fixture
def run(load_tool, monkeypatch, tmp_path):
    """A function that draws the folders below ``tmp_path`` and returns the sheet as RGB."""
    tool = load_tool("analysis_tools/image_sheet.py")

    def call(*folders, out="sheet.png"):
        paths = [str(tmp_path / folder) for folder in folders]
        options = ["--size", str(WIDTH), str(HEIGHT), "--out", str(tmp_path / out)]
        monkeypatch.setattr(sys, "argv", ["image_sheet.py", *paths, *options])
        tool.main()
        return cv2.imread(str(tmp_path / out))[..., ::-1]

    return call


def write(path, colour, height=50, width=70):
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), colour[::-1], np.uint8))


def test_columns_are_folders_and_rows_are_names(run, tmp_path):
    colours = dict(noisy=[(200, 0, 0), (0, 200, 0)], clean=[(0, 0, 200), (90, 90, 90)])
    for folder, values in colours.items():
        for name, value in zip("ab", values, strict=True):
            write(tmp_path / folder / f"{name}.png", value)
    write(tmp_path / "noisy" / "only_here.png", (1, 2, 3))
    sheet = run("noisy", "clean")
    assert sheet.shape == (18 + 2 * (HEIGHT + 18), 2 * WIDTH + 4, 3)
    for column, values in enumerate(colours.values()):
        for row, value in enumerate(values):
            top, left = 18 + row * (HEIGHT + 18), column * (WIDTH + 4)
            part = sheet[top + 1 : top + HEIGHT - 1, left + 1 : left + WIDTH - 1]
            assert (part == value).all()
    caption = slice(18 + HEIGHT, 36 + HEIGHT)
    assert (sheet[caption, : WIDTH + 2] < 128).any()
    assert (sheet[caption, WIDTH + 6 :] > 128).all()


def test_faults_are_named(run, tmp_path):
    write(tmp_path / "noisy" / "a.png", (0, 0, 0))
    write(tmp_path / "clean" / "b.png", (0, 0, 0))
    with pytest.raises(SystemExit, match="no image name is in all of"):
        run("noisy", "clean")
    write(tmp_path / "clean" / "a.png", (0, 0, 0), height=51)
    with pytest.raises(SystemExit, match=r"a\.png has different sizes .*: 70x50, 70x51"):
        run("noisy", "clean")
    with pytest.raises(SystemExit, match="none does not exist"):
        run("noisy", "none")
