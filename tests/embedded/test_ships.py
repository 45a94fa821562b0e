import hashlib
import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmext.embedded import ships
from mmext.embedded.ship_layout import KINDS, Rect, Scene, Vessel
from mmext.embedded.ship_paint import HULLS, paint

ROOT = Path(__file__).resolve().parents[2]
KIND = {kind.name: kind for kind in KINDS}
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None,
    reason="the scikit-image package (the source of the photographs) is not installed",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return ships.prepare(tmp_path_factory.mktemp("data") / "ships")


def read(path):
    rows = [line.split() for line in path.read_text().splitlines()]
    corners = np.array([row[:8] for row in rows], float).reshape(-1, 4, 2)
    return corners, [row[8] for row in rows], [int(row[9]) for row in rows]


def flat_photo():
    return [np.full((300, 300, 3), 120, np.uint8)]


def quiet_scene(**changes):
    return Scene(size=128, backdrop="land", looks=1, **changes)


def test_corners_go_round_clockwise_from_the_stern():
    found = Rect(10, 20, 8, 4, math.pi / 2).corners()
    np.testing.assert_allclose(found, [[12, 16], [12, 24], [8, 24], [8, 16]], atol=1e-12)
    np.testing.assert_allclose(Rect(0, 0, 8, 4, 0).corners(1), [[-5, -3], [5, -3], [5, 3], [-5, 3]])


@pytest.mark.parametrize("kind", list(HULLS))
def test_hulls_touch_their_box_on_all_sides_and_stay_inside(kind):
    u, v = np.meshgrid(*[np.linspace(-1.2, 1.2, 481)] * 2)
    inside = HULLS[kind](u, v)
    assert inside.any()
    for axis in (u, v):
        assert axis[inside].max() == pytest.approx(1, abs=0.011)
        assert axis[inside].min() == pytest.approx(-1, abs=0.011)
    assert abs(u[inside]).max() <= 1
    assert abs(v[inside]).max() <= 1


@pytest.mark.parametrize("kind", list(HULLS))
def test_the_box_around_what_is_drawn_is_the_annotated_one(kind):
    """The pixels that a vessel changes, seen without shadow, blur and noise."""
    rect = Rect(63.3, 60.8, 70.0, 24.0, 0.6)
    images = []
    for vessels in ([], [Vessel(kind, rect, looks=3, wake=0.0)]):
        images.append(paint(quiet_scene(vessels=vessels), flat_photo())[0].astype(int))
    changed = abs(images[1] - images[0]).max(axis=2) > 25
    points = np.argwhere(changed)[:, ::-1] + 0.5
    cos, sin = math.cos(rect.angle), math.sin(rect.angle)
    local = (points - [rect.x, rect.y]) @ np.array([[cos, -sin], [sin, cos]])
    # A shadow of up to 4 pixels falls to one side; the other sides end at the box.
    shadow = 1 + 0.12 * rect.width + 1.5
    for axis, half in ((0, rect.length / 2), (1, rect.width / 2)):
        low, high = -local[:, axis].min() - half, local[:, axis].max() - half
        assert min(low, high) == pytest.approx(0, abs=1.5)
        assert max(low, high) < shadow


def test_hidden_and_cut_vessels_are_difficult():
    open_ = Vessel("raft", Rect(64, 64, 20, 20, 0.3), looks=1, wake=0.0)
    cut = Vessel("raft", Rect(64, 2, 20, 20, 0.0), looks=1, wake=0.0)
    covered = Vessel("raft", Rect(30, 30, 20, 20, 0.0), looks=1, wake=0.0)
    gone = Vessel("raft", Rect(100, 100, 20, 20, 0.0), looks=1, wake=0.0)
    scene = quiet_scene(
        vessels=[open_, cut, covered, gone],
        occluders=[("beam", Rect(25, 30, 10, 40, 0.0)), ("beam", Rect(100, 100, 40, 40, 0.0))],
    )
    _, visible = paint(scene, flat_photo())
    np.testing.assert_allclose(visible, [1, 0.6, 0.5, 0], atol=0.02)
    lines = ships.annotation_lines(scene, visible)
    assert [line.split()[-2:] for line in lines] == [["raft", "0"], ["raft", "1"], ["raft", "1"]]
    assert lines[1].startswith("54.00 -8.00 74.00 -8.00 74.00 12.00 54.00 12.00 ")


@pytest.mark.parametrize("split", list(ships.SPLITS))
def test_vessels_do_not_overlap_and_have_their_kinds_sizes(split):
    for index in range(4):
        scene = ships.scene_of(split, index, seed=0)
        assert scene.vessels
        area = np.zeros((scene.size + 128,) * 2, np.uint8)
        for vessel in scene.vessels:
            kind, rect = KIND[vessel.kind], vessel.rect
            assert kind.length[0] <= rect.length <= kind.length[1]
            assert kind.aspect[0] - 1e-9 <= rect.length / rect.width <= kind.aspect[1] + 1e-9
            mask = np.zeros_like(area)
            points = np.round((rect.corners() + 64) * 16).astype(np.int32)
            cv2.fillConvexPoly(mask, points, 1, shift=4)
            assert not (mask & area).any()
            area |= mask


def test_the_seed_decides_everything():
    assert ships.scene_of("val", 3, seed=0) == ships.scene_of("val", 3, seed=0)
    assert ships.scene_of("val", 3, seed=0) != ships.scene_of("val", 3, seed=1)
    assert ships.scene_of("val", 3, seed=0) != ships.scene_of("test", 3, seed=0)


def test_training_and_other_images_share_no_photograph_pixel():
    photo = np.arange(10, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    (train,), (val,) = (ships.photo_parts([photo], split) for split in ("train", "val"))
    assert sorted([*train[0, :, 0], *val[0, :, 0]]) == list(range(10))
    assert len(train[0]) == 6


@needs_package
def test_annotations_are_the_published_ones(data):
    """Figures in the docs hold for these labels only."""
    digest = hashlib.sha256()
    for path in sorted(data.glob("*/annfiles/*.txt")):
        digest.update(path.name.encode() + path.read_bytes())
    assert digest.hexdigest() == "4962d66c950159e5082ac0ed2df2e8f4adad862516b174c4bee35ca87ac1ae6c"


@needs_package
@pytest.mark.parametrize(
    ("split", "objects", "difficult"),
    [("train", 1968, 169), ("val", 484, 45), ("test", 470, 37), ("large", 515, 10)],
)
def test_splits(data, split, objects, difficult):
    images = sorted((data / split / "images").iterdir())
    labels = sorted((data / split / "annfiles").iterdir())
    assert [path.stem for path in images] == [path.stem for path in labels]
    assert len(images) == ships.SPLITS[split].images
    assert cv2.imread(str(images[0])).shape == (ships.SPLITS[split].size,) * 2 + (3,)
    parts = [read(path) for path in labels]
    corners = np.concatenate([part[0] for part in parts])
    names = [name for part in parts for name in part[1]]
    assert len(names) == objects
    assert sum(sum(part[2]) for part in parts) == difficult
    assert set(names) == set(ships.CLASSES)
    edges = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    np.testing.assert_allclose(edges[:, :2], edges[:, 2:], atol=0.03)  # rectangles
    ratios = edges[:, 0] / edges[:, 1]
    assert ratios[np.array(names) == "raft"].max() < 1.31
    assert ratios[np.array(names) == "barge"].min() > 6.95
    # Angles are spread evenly over the half turn.
    direction = corners[:, 1] - corners[:, 0]
    counts, _ = np.histogram(np.arctan2(*direction.T[::-1]) % math.pi, 6, (0, math.pi))
    assert counts.min() > 0.5 * objects / 6


@needs_package
def test_size_classes_and_licence(data):
    assert sum(path.stat().st_size for path in data.rglob("*")) < 20e6
    assert (data / "classes.txt").read_text().split() == ["raft", "tug", "ferry", "barge"]
    for words in ("CC0", "public domain", "Rachel Michetti", "NASA"):
        assert words in (data / "ATTRIBUTION.txt").read_text()


@needs_package
def test_second_call_changes_nothing_and_other_seeds_replace(data, tmp_path, monkeypatch):
    manifest = data / "manifest.json"
    before = manifest.stat().st_mtime_ns
    ships.prepare(data)
    assert manifest.stat().st_mtime_ns == before
    monkeypatch.setattr(ships, "SPLITS", {"train": ships.Split(1, 256)})
    root = ships.prepare(tmp_path / "ships")
    text = (root / "train" / "annfiles" / "train_0000.txt").read_text()
    ships.prepare(root, seed=1)
    assert (root / "train" / "annfiles" / "train_0000.txt").read_text() != text
    assert json.loads((root / "manifest.json").read_text())["recipe"]["seed"] == 1
    (root / "train" / "images" / "train_0000.jpg").unlink()
    ships.prepare(root, seed=1)
    assert (root / "train" / "images" / "train_0000.jpg").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["ships"]


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="remove it or name another folder"):
        ships.prepare(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_missing_package_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps scikit-image==0\.26\.0"):
        ships.prepare(tmp_path / "ships")
    assert not list(tmp_path.iterdir())


def test_changed_photograph_is_refused(monkeypatch, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ships.PHOTOS:
        (source / name).write_bytes(b"other")
    monkeypatch.setattr(ships, "find_source", lambda: source)
    with pytest.raises(ValueError, match=r"grass\.png is not the file of scikit-image 0\.26\.0"):
        ships.prepare(tmp_path / "ships")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_chance_keeps_shapes_and_moves_centres():
    corners = Rect(5, 5, 8, 2, 0.4).corners()[None].repeat(50, axis=0)
    found = ships.chance_corners(corners, 100, np.random.default_rng(0))
    centres = found.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found - centres, corners - 5, atol=1e-9)
    assert 0 < centres.min() < 10
    assert 90 < centres.max() < 100


@needs_package
def test_command_prints_counts_reference_scores_and_licence(data):
    tool = ROOT / "tools" / "dataset_converters" / "ships.py"
    run = subprocess.run(
        [sys.executable, tool, "--out", data], capture_output=True, text=True, check=True
    )
    rows = {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines() if line.strip()}
    assert rows["val"][:3] == ["60", "484", "45"]
    figures = [float(cell) for cell in rows["val"][3:] if cell != "/"]
    chance, horizontal, upper = figures[:3], figures[3:6], figures[6:]
    assert chance[0] < 0.02
    assert 0.2 < horizontal[0] < 0.5
    assert horizontal[1] < 0.1
    assert min(upper) > 0.98
    assert "public domain" in run.stdout
