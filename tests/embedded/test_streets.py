"""The rendered streets: geometry, labels, domains, files."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmext.embedded import skimage_photos, streets
from mmext.embedded.street_layout import (
    CAR,
    CLASSES,
    LANE,
    PERSON,
    ROAD,
    SIDEWALK,
    SKY,
    VEGETATION,
    Camera,
    Face,
    Street,
    lay_out,
)
from mmext.embedded.street_looks import LOOKS
from mmext.embedded.street_paint import as_texture, paint

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"train": 3, "val": 2}
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None,
    reason="the scikit-image package (the source of the photographs) is not installed",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return streets.prepare(tmp_path_factory.mktemp("data") / "streets", counts=SMALL)


def flat_photos():
    return {name: np.ones((256, 256, 3), np.float32) for name in streets.PHOTOS}


def draw(street, looks="game"):
    return paint(street, LOOKS[looks], flat_photos(), streets.SIZE, np.random.default_rng(0))


CAMERA = Camera(height=1.5, focal=0.6, horizon=0.4, centre=0.5)


def empty_street(**changes):
    options = dict(camera=CAMERA, left=-4.0, right=4.0, sidewalk=2.0, marks=[], faces=[], looks=1)
    return Street(**{**options, **changes})


def test_a_point_is_projected_by_hand():
    found = CAMERA.project(np.array([[2.0, 0.0, 10.0], [0.0, 1.5, 5.0]]), 192, 96)
    # 0.6 * 192 = 115.2 pixels per radian; the horizon is at row 38.4, at the camera's height.
    np.testing.assert_allclose(found, [[96 + 23.04, 38.4 + 17.28], [96, 38.4]])


def test_labels_of_an_empty_street():
    image, labels = draw(empty_street())
    assert image.shape == (96, 192, 3)
    assert image.dtype == labels.dtype == np.uint8
    assert (labels[:38] == SKY).all()
    # Row 80 is 115.2 * 1.5 / 42.1 = 4.10 m ahead: the road reaches 112 columns to each side,
    # at row 50 (14.3 m) 32 columns, the sidewalks 16 more.
    assert (labels[80] == ROAD).all()
    row = labels[50]
    assert (row[66:126] == ROAD).all()
    assert (row[[49, 60, 131, 142]] == SIDEWALK).all()
    assert (row[[2, 40, 150, 190]] == VEGETATION).all()


def test_what_is_near_hides_what_is_far():
    def box(label, x, z, looks=1):
        points = np.array([[x - 1, 0, z], [x + 1, 0, z], [x + 1, 2, z], [x - 1, 2, z]])
        return Face(label, points, "front", "body", looks)

    far, near = box(CAR, 0.0, 20.0), box(PERSON, 0.0, 10.0)
    _, labels = draw(empty_street(faces=[far, near]))
    column = labels[:, 96]
    # From 10 m the top is 0.5 m above the camera, at row 38.4 - 5.76; the foot at 55.7.
    assert (column[33:55] == PERSON).all()
    assert (column[57:] == ROAD).all()
    assert not (labels == CAR).any()


def test_walls_never_hide_what_stands_on_the_street():
    """People, cars and poles are drawn after everything beyond the sidewalks."""
    for index in range(10):
        street = lay_out((0, index))
        order = [face.label in (PERSON, CAR) for face in street.faces]
        building = max(i for i, f in enumerate(street.faces) if CLASSES[f.label] == "building")
        assert True not in order[:building]
        assert all(face.points[:, 2].min() > 1 for face in street.faces)


def test_markings_lie_on_the_road():
    mark = np.array([[-0.5, 5.0], [0.5, 5.0], [0.5, 8.0], [-0.5, 8.0]])
    _, labels = draw(empty_street(marks=[mark]))
    rows = np.flatnonzero((labels == LANE).any(axis=1))
    # Between 8 m (row 60) and 5 m (row 72.96).
    assert abs(rows.min() - 60) <= 1
    assert abs(rows.max() - 72) <= 1


def test_the_seed_decides_everything():
    photos = flat_photos()

    def same(*key):
        return np.concatenate([part.ravel() for part in streets.render(*key, photos)])

    first = same("day", "train", 0, 0)
    np.testing.assert_array_equal(first, same("day", "train", 0, 0))
    for other in (("fog", "train", 0, 0), ("day", "val", 0, 0), ("day", "train", 1, 0)):
        assert not np.array_equal(first, same(*other))
    assert not np.array_equal(first, same("day", "train", 0, 1))


def test_weather_and_light():
    street = lay_out((0, 3))
    images = {name: draw(street, name)[0].astype(float) for name in LOOKS}
    labels = {name: draw(street, name)[1] for name in LOOKS}
    assert all(np.array_equal(labels["game"], other) for other in labels.values())
    assert images["night"].mean() < 0.75 * images["day"].mean()
    assert images["fog"].std() < 0.9 * images["day"].std()
    assert images["game"].std() > images["fog"].std()


def test_training_and_validation_share_no_photograph_pixel(monkeypatch):
    taken = []
    monkeypatch.setattr(streets, "as_texture", lambda part: taken.append(part) or part)
    photo = np.arange(10, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    for split in ("train", "val"):
        streets.textures(dict(a=photo), split)
    assert sorted([*taken[0][0, :, 0], *taken[1][0, :, 0]]) == list(range(10))


def test_textures_have_mean_one():
    rng = np.random.default_rng(0)
    found = as_texture(rng.integers(0, 255, (300, 500, 3), dtype=np.uint8))
    assert found.shape == (256, 256, 3)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), 1, atol=1e-3)


@needs_package
def test_labels_are_the_published_ones(data):
    """Figures in the docs hold for these labels only."""
    digest = hashlib.sha256()
    for path in sorted(data.rglob("*_labelTrainIds.png")):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        digest.update(path.name.encode() + labels.tobytes())
    assert digest.hexdigest() == "bf8f12b12824b92729a26cd07c7d74222d97dee5640965e4f7defd24343f62cb"


@needs_package
def test_files_shares_and_licence(data):
    for domain in streets.DOMAINS:
        for split, count in SMALL.items():
            for folder, suffix in (
                ("leftImg8bit", "leftImg8bit"),
                ("gtFine", "gtFine_labelTrainIds"),
            ):
                names = [path.name for path in sorted((data / domain / folder / split).iterdir())]
                assert names == [f"{domain}_{split}_{i:04d}_{suffix}.png" for i in range(count)]
        image, labels = (
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in streets.file_paths(data, domain, "train", 0)
        )
        assert image.shape == (*streets.SIZE, 3)
        assert labels.shape == streets.SIZE
        assert labels.max() < len(CLASSES)
    manifest = json.loads((data / "manifest.json").read_text())
    for shares in manifest["class_shares"].values():
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert min(shares) > 0.001  # each class is there in every domain and split
    assert (data / "classes.txt").read_text().split() == list(CLASSES)
    for words in ("CC0", "public domain", "Rachel Michetti", "NASA"):
        assert words in (data / "ATTRIBUTION.txt").read_text()


@needs_package
def test_second_call_changes_nothing_and_other_recipes_replace(tmp_path):
    root = streets.prepare(tmp_path / "streets", domains=["game"], counts={"train": 1})
    manifest = root / "manifest.json"
    image = streets.file_paths(root, "game", "train", 0)[0]
    before, content = manifest.stat().st_mtime_ns, image.read_bytes()
    streets.prepare(root, domains=["game"], counts={"train": 1})
    assert manifest.stat().st_mtime_ns == before
    streets.prepare(root, domains=["game"], counts={"train": 2})
    assert image.read_bytes() == content  # images of a smaller set are those of the whole one
    streets.prepare(root, seed=1, domains=["game"], counts={"train": 2})
    assert image.read_bytes() != content
    image.unlink()
    streets.prepare(root, seed=1, domains=["game"], counts={"train": 2})
    assert image.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["streets"]


def test_bad_input(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"domains has \['dusk'\]"):
        streets.prepare(tmp_path / "streets", domains=["dusk"])
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="remove it or name another folder"):
        streets.prepare(tmp_path, counts={"train": 1})
    source = tmp_path / "source"
    source.mkdir()
    for name in streets.PHOTOS:
        (source / name).write_bytes(b"other")
    with pytest.raises(ValueError, match=r"brick\.png is not the file of scikit-image 0\.26\.0"):
        skimage_photos.read_photos(source, streets.PHOTOS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps scikit-image==0\.26\.0"):
        skimage_photos.find_source()


def test_prior_is_the_most_frequent_label():
    labels = np.array([[[0, 1]], [[0, 2]], [[3, 2]]], np.uint8)
    np.testing.assert_array_equal(streets.prior_labels(labels), [[0, 2]])


@needs_package
def test_command_prints_reference_scores_and_licence(data, tmp_path):
    """With the counts of the test's set, which the command takes for granted otherwise."""
    tool = ROOT / "tools" / "dataset_converters" / "streets.py"
    code = (
        "import runpy, sys; from mmext.embedded import skimage_photos, streets; "
        f"streets.prepare.__defaults__ = (0, streets.DOMAINS, {SMALL!r}); "
        f"sys.argv = ['streets.py', '--out', {str(data)!r}]; "
        f"runpy.run_path({str(tool)!r}, run_name='__main__')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    rows = {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines() if line.strip()}
    for domain in streets.DOMAINS:
        assert rows[domain][:2] == ["3", "2"]
        chance, position = map(float, rows[domain][2:4])
        assert 2 < chance < 15
        assert chance < position < 60
    assert "public domain" in run.stdout
