import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmext.embedded import al_shapes
from mmext.embedded.al_shapes import CLASSES, SIZE, Shape, Split, box_of, coverage, lay_out, paint

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None,
    reason="the scikit-image package (the source of the photographs) is not installed",
)


def shape(kind, **changes):
    return Shape(kind, **(dict(x=64, y=60, diameter=40, angle=0.0, contrast=50) | changes))


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("disc", np.pi),
        ("square", 2.0),
        ("triangle", 3 * np.sqrt(3) / 4),
        ("ring", np.pi * (1 - 0.55**2)),
        ("cross", 4 * 0.28 * (2 * 0.96 - 0.28)),
    ],
)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_a_shape_covers_its_area_and_stays_in_its_circle(kind, area, angle):
    cover = coverage(shape(kind, angle=angle))
    # Straight edges may fall between samples, which are a quarter of a pixel apart.
    assert cover.sum() == pytest.approx(20**2 * area, rel=0.02)
    rows, columns = np.nonzero(cover)
    distance = np.hypot(columns + 0.5 - 64, rows + 0.5 - 60)
    assert 18 < distance.max() < 20.8


def test_a_box_holds_what_is_covered():
    assert box_of(coverage(shape("disc"))) == [44, 40, 40, 40]
    left, top, width, height = box_of(coverage(shape("triangle")))
    # An equilateral triangle on its circle: as wide as sqrt(3) radii, 1.5 of them high.
    assert (width, height) == (pytest.approx(34.6, abs=1), pytest.approx(30, abs=1))
    assert (left + width / 2, top) == (pytest.approx(64, abs=1), pytest.approx(40, abs=1))


def test_a_broken_shape_is_smaller():
    whole, broken = (coverage(shape("disc", broken=b)).sum() for b in (False, True))
    assert 0.4 * whole < broken < 0.7 * whole


def test_easy_images_have_few_shapes_of_the_frequent_classes():
    rng = np.random.default_rng(0)
    easy = [one for _ in range(400) for one in lay_out(rng, easy=True)]
    hard = [one for _ in range(400) for one in lay_out(rng, easy=False)]
    assert len(hard) > 3 * len(easy)
    for shapes, shares in ((easy, al_shapes.EASY_CLASS_SHARES), (hard, [0.2] * 5)):
        found = [sum(one.kind == kind for one in shapes) / len(shapes) for kind in CLASSES]
        np.testing.assert_allclose(found, shares, atol=0.05)
    assert not any(one.broken for one in easy)
    assert min(abs(one.contrast) for one in easy) > max(abs(one.contrast) for one in hard)
    for _ in range(50):
        shapes = lay_out(rng, easy=False)
        for i, one in enumerate(shapes):
            for other in shapes[:i]:
                apart = np.hypot(one.x - other.x, one.y - other.y)
                assert apart > (one.diameter + other.diameter) / 2


def test_what_is_drawn_is_where_the_box_is():
    flat = [np.full((200, 200, 3), 100, np.uint8)]
    one = shape("disc", contrast=80.0)
    images = [
        paint(np.random.default_rng(1), shapes, flat, easy=False)[0].astype(int)
        for shapes in ([], [one])
    ]
    changed = abs(images[1] - images[0]).min(axis=2) > 30
    np.testing.assert_allclose(box_of(changed.astype(np.float32)), [44, 40, 40, 40], atol=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return al_shapes.prepare(tmp_path_factory.mktemp("data") / "al_shapes")


@needs_package
def test_the_set_is_standard_coco(data):
    for name, split in al_shapes.SPLITS.items():
        coco = COCO(data / "annotations" / f"{name}.json")
        assert len(coco.imgs) == split.images == len(list((data / name).glob("*.png")))
        assert tuple(category["name"] for category in coco.cats.values()) == CLASSES
        for box in coco.anns.values():
            x, y, width, height = box["bbox"]
            assert 0 <= x < x + width <= SIZE
            assert 0 <= y < y + height <= SIZE
    assert cv2.imread(str(data / "train" / "0000.png")).shape == (SIZE, SIZE, 3)
    counts = json.loads((data / "manifest.json").read_text())["counts"]["train"]
    assert counts["disc"] > 1.5 * counts["cross"] > 0


@needs_package
def test_an_image_depends_on_seed_and_number_only(data, tmp_path, monkeypatch):
    """Shorter splits have the same first images; a second call changes nothing."""
    before = (data / "train" / "0003.png").stat().st_mtime_ns
    al_shapes.prepare(data)
    assert (data / "train" / "0003.png").stat().st_mtime_ns == before
    monkeypatch.setattr(al_shapes, "SPLITS", {"train": Split(5, 0.7), "val": Split(2, 0.5)})
    short = al_shapes.prepare(tmp_path / "short")
    other = al_shapes.prepare(tmp_path / "other", seed=1)
    file = "train/0003.png"
    assert (short / file).read_bytes() == (data / file).read_bytes()
    assert (short / file).read_bytes() != (other / file).read_bytes()


@needs_package
def test_command_prints_counts_and_chance(data):
    tool = Path(__file__).parents[2] / "tools" / "dataset_converters" / "al_shapes.py"
    run = subprocess.run(
        [sys.executable, tool, "--out", data], capture_output=True, text=True, check=True
    )
    rows = {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines() if line.strip()}
    assert rows["val"][0] == "150"
    assert 0 < float(rows["val"][-1]) < 0.05
    assert "CC0" in run.stdout
