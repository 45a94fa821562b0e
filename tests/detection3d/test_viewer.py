"""Pictures of scenes."""

import importlib.util
import sys

import cv2
import numpy as np
import pytest
from indoor_files import BOXES, cloud

from mmext.detection3d.structures import Boxes3D
from mmext.detection3d.viewer import (
    BoxSet,
    box_lines,
    color_by_class,
    draw_html,
    draw_png,
    thin_out,
    write_picture,
)

TRUTH = BoxSet(Boxes3D(BOXES), np.array([0, 1]))
FOUND = BoxSet(Boxes3D(BOXES).translate((0.3, 0.3, 0.1)), np.array([1, 0]), np.array([0.2, 0.9]))
CLASSES = ("chair", "bed")


def green(png):
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).astype(int)
    return (np.abs(image - (0x50, 0x98, 0x1A)).sum(axis=2) < 30).sum()


def test_lines_run_along_all_edges_and_to_the_front():
    line = box_lines(Boxes3D([[0.0, 0, 0, 2, 4, 6, 0]]))[0]
    parts = np.split(line, np.flatnonzero(np.isnan(line[:, 0])))
    steps = np.concatenate([np.diff(part[~np.isnan(part[:, 0])], axis=0) for part in parts])
    lengths = sorted(np.linalg.norm(steps, axis=1).round(6).tolist())
    assert lengths == [1.0, *[2.0] * 4, *[4.0] * 4, *[6.0] * 4]
    np.testing.assert_allclose(line[-1], [1, 0, 0])


def test_png():
    points = cloud()[0][:, :3]
    both, bare = draw_png(points, CLASSES, TRUTH, FOUND), draw_png(points, CLASSES)
    assert cv2.imdecode(np.frombuffer(both, np.uint8), cv2.IMREAD_COLOR).shape == (600, 800, 3)
    assert green(bare) == 0
    assert green(both) > 300
    assert draw_png(points[:0], CLASSES)
    assert draw_png(points, CLASSES, BoxSet(Boxes3D([]), np.zeros(0, int)))


@pytest.mark.parametrize("size", [(8, 2, 2.5), (2, 9, 2.5), (6, 6, 2), (2, 2, 4)])
def test_all_of_a_scene_is_in_the_picture(size):
    rng, corners = np.random.default_rng(0), np.indices((2, 2, 2)).reshape(3, -1).T
    inside = np.concatenate((rng.random((3000, 3)), np.full((3000, 3), 0.7)), axis=1)
    red = np.concatenate((corners, np.tile((1, 0, 0), (8, 1))), axis=1)
    points = np.concatenate((inside, red)) * (*size, 1, 1, 1) + (30, -20, 0, 0, 0, 0)
    image = cv2.imdecode(np.frombuffer(draw_png(points, ()), np.uint8), cv2.IMREAD_COLOR)
    found = ((image[..., 2] > 200) & (image[..., 0] < 120)).astype(np.uint8)
    assert cv2.connectedComponents(found)[0] - 1 == 8
    rows, columns = np.nonzero(image.min(axis=2) < 250)
    assert max(np.ptp(rows) / 600, np.ptp(columns) / 800) > 0.7


def test_best_boxes_and_colours():
    best = FOUND.best(5, 0.5)
    assert best.labels.tolist() == [0]
    assert len(FOUND.best(1, 0.0).boxes) == 1
    colored = color_by_class(cloud()[0][:, :3], TRUTH)
    grey = np.ptp(colored[:, 3:], axis=1) == 0
    assert not grey[:120].any()
    assert grey[120:].all()
    assert len(thin_out(colored, 50)) == 50


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(ImportError, match="pip install plotly"):
        draw_html(cloud()[0], CLASSES)


@pytest.mark.skipif(
    importlib.util.find_spec("plotly") is None, reason="plotly (an extra) is not installed"
)
def test_page_needs_no_network(tmp_path):
    write_picture(tmp_path / "a.html", cloud()[0][:, :3], CLASSES, TRUTH, FOUND, title="scene a")
    page = (tmp_path / "a.html").read_text()
    assert "predicted: bed 0.20" in page
    assert "true: chair" in page
    assert '<script src="' not in page
    assert len(page) > 1e6  # the script is in it


def test_suffix_decides(tmp_path):
    write_picture(tmp_path / "new/a.png", cloud()[0][:, :3], CLASSES)
    assert (tmp_path / "new/a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"a.jpg: expected a name that ends with .png or .html"):
        write_picture(tmp_path / "a.jpg", cloud()[0][:, :3], CLASSES)
