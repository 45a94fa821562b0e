"""The rendered rooms: shapes, layout, what cameras see, files."""

import hashlib
import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmext.detection3d.info_files import read_infos
from mmext.detection3d.structures import Boxes3D
from mmext.embedded import rooms
from mmext.embedded.room_furniture import CLASS_SHAPES, CLASSES, Furniture, build
from mmext.embedded.room_layout import TYPES, Item, Room, _overlap, lay_out
from mmext.embedded.room_scan import Sensor, hit_boxes, hit_cylinders, scan
from mmext.ops import points_in_boxes

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"train": 4, "val": 4, "other": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return rooms.prepare(tmp_path_factory.mktemp("data") / "rooms", counts=SMALL)


@pytest.mark.parametrize("style", rooms.STYLES)
@pytest.mark.parametrize("name", CLASSES)
def test_parts_fill_the_box_and_no_more(name, style):
    for shape in CLASS_SHAPES[name]:
        for seed in range(5):
            made = build(name, shape, rooms.STYLES[style].make, np.random.default_rng(seed))
            boxes, tubes = made.boxes, made.cylinders
            radii = np.concatenate((tubes[:, [3, 3]], tubes[:, 4:] / 2), axis=1)
            low = np.concatenate((boxes[:, :3] - boxes[:, 3:] / 2, tubes[:, :3] - radii))
            high = np.concatenate((boxes[:, :3] + boxes[:, 3:] / 2, tubes[:, :3] + radii))
            depth, width, height = made.size
            expected = [-depth / 2, -width / 2, 0], [depth / 2, width / 2, height]
            np.testing.assert_allclose(low.min(axis=0), expected[0], atol=1e-9, err_msg=shape)
            np.testing.assert_allclose(high.max(axis=0), expected[1], atol=1e-9, err_msg=shape)


def test_rays_hit_the_nearest_box():
    boxes = np.array([[5.0, 0, 0, 2, 2, 2], [3.0, 0, 0, 1, 1, 1], [-2.0, 0, 0, 1, 1, 1]])
    slanted = np.array([math.cos(0.1), math.sin(0.1), 0])
    rays = np.array([[1.0, 0, 0], [0, 1, 0], slanted])
    distance, cosine = hit_boxes(np.zeros(3), rays, boxes)
    np.testing.assert_allclose(distance, [2.5, 1e9, 2.5 / math.cos(0.1)])
    np.testing.assert_allclose(cosine[[0, 2]], [1, math.cos(0.1)])


def test_rays_hit_cylinders():
    tubes = np.array([[3.0, 0, 0, 1, 1]])
    rays = np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    distance, cosine = hit_cylinders(np.zeros(3), rays, tubes)
    np.testing.assert_allclose(distance, [2, 1e9, 1e9])
    assert cosine[0] == pytest.approx(1)
    distance, _ = hit_cylinders(np.array([3.2, 0.1, 2.0]), np.array([[0, 0, -1.0]]), tubes)
    np.testing.assert_allclose(distance, [1.5])  # the lid, from above


def test_what_stands_in_front_hides_what_is_behind():
    """Every camera of a room with a wall across it sees one side only."""
    wall = Furniture(
        "clutter", (0.1, 6.0, 2.3), np.array([[0, 0, 1.15, 0.1, 6, 2.3]]), np.zeros((0, 5))
    )
    crate = Furniture("bed", (1.0, 1, 1), np.array([[0, 0, 0.5, 1, 1, 1.0]]), np.zeros((0, 5)))
    room = Room("bedroom", (6.0, 6.0, 2.3))
    room.items = [Item(wall, 0, 0, 0), Item(crate, 1.5, 0, 0), Item(crate, -1.5, 0, 0)]
    exact = Sensor(
        cameras=(1, 1), height=(1.5, 1.6), pixels=(60, 45), view=(80, 80), noise=0, missing=0,
        blots=0, cell=1e-3, points=10000, share=1.0,
    )  # fmt: skip
    for seed in range(6):
        points, owner = scan(room, exact, np.random.default_rng(seed))
        side = np.sign(points[np.abs(points[:, 0]) > 0.06, 0])
        assert abs(side.mean()) == 1
        assert not {1, 2} <= set(owner.tolist())
        # Without noise points lie on surfaces.
        on = np.abs(np.abs(points[owner == 0, 0]) - 0.05) < 1e-6
        assert on.mean() > 0.9
        rest = points[owner == -1]
        reach = np.stack((3 - np.abs(rest[:, 0]), 3 - np.abs(rest[:, 1]), np.abs(rest[:, 2])))
        assert reach.min(axis=0).max() < 1e-6


@pytest.mark.parametrize("kind", TYPES)
def test_furniture_stands_in_the_room_and_apart(kind):
    style = rooms.STYLES["home"]
    for seed in range(8):
        room = lay_out(kind, style.make, style.side, style.litter, np.random.default_rng(seed))
        prints = [item.footprint() for item in room.items]
        for corners in prints:
            assert (np.abs(corners) <= np.array(room.size[:2]) / 2).all()
        for i, a in enumerate(room.items):
            for b, corners in zip(room.items[:i], prints[:i], strict=True):
                names = {a.furniture.name, b.furniture.name}
                if not names & {"chair"}:  # chairs may be pushed under tables
                    assert not _overlap(prints[i], corners), names


def test_types_of_rooms_say_what_to_find():
    style, found = rooms.STYLES["home"], {}
    for kind in TYPES:
        found[kind] = {
            item.furniture.name
            for seed in range(15)
            for item in lay_out(kind, style.make, style.side, 0, np.random.default_rng(seed)).items
        }
    assert {"bed", "night_stand", "dresser"} <= found["bedroom"]
    assert "bed" not in found["office"] | found["kitchen"] | found["lounge"]
    assert {"desk", "drawer"} <= found["office"]
    assert "sofa" in found["lounge"]
    # Look alike, and are told apart by the type of the room only.
    for one, other in (("night_stand", "drawer"), ("dresser", "cabinet"), ("table", "desk")):
        assert set(CLASS_SHAPES[one]) & set(CLASS_SHAPES[other])
        assert not any({one, other} <= names for names in found.values())


def test_the_seed_decides_everything():
    first, again = rooms.make_scan("val", 0, 0), rooms.make_scan("val", 0, 0)
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.oriented, again.oriented)
    for other in (("val", 4, 0), ("train", 0, 0), ("val", 0, 1)):
        assert not np.array_equal(first.points, rooms.make_scan(*other).points)


def test_both_forms_hold_the_points_of_their_objects():
    for split in SMALL:
        found = rooms.make_scan(split, 2, 0)
        moved = found.points @ found.matrix[:3, :3].T + found.matrix[:3, 3]
        for points, boxes in ((found.points, found.oriented), (moved, found.aligned)):
            larger = torch.from_numpy(boxes).clone()
            larger[:, 3:6] += 0.2  # noise
            own = found.instance > 0
            inside = points_in_boxes(torch.from_numpy(points[own]).double(), larger)
            right = inside[
                torch.arange(own.sum()), torch.from_numpy(found.instance[own]).long() - 1
            ]
            assert right.double().mean() > 0.97
        counts = np.bincount(found.instance, minlength=len(found.labels) + 1)[1:]
        assert counts.min() > 0
        assert (found.aligned[:, 6] == 0).all()
        back = Boxes3D(found.oriented).rotate(math.atan2(found.matrix[1, 0], found.matrix[0, 0]))
        torch.testing.assert_close(back.hulls.sizes, torch.from_numpy(found.aligned[:, 3:6]))


def test_objects_are_the_published_ones():
    """Figures in the docs hold for these rooms only."""
    digest = hashlib.sha256()
    for split, count in SMALL.items():
        for index in range(count):
            found = rooms.make_scan(split, index, 0)
            sizes = (found.oriented[:, 3:6] * 100).round().astype(np.int64)
            digest.update(found.labels.tobytes() + sizes.tobytes())
    assert digest.hexdigest()[:16] == "ba44a4e449a4a9da"


def test_files(data):
    for split, count in SMALL.items():
        for form in rooms.FORMS:
            file = read_infos(str(data / f"rooms_{form}_{split}.pkl"))
            assert len(file.records) == count
            assert tuple(file.classes) == CLASSES
            assert [r["scene_type"] for r in file.records] == [TYPES[i % 4] for i in range(count)]
        for index in range(count):
            arrays = [
                np.load(data / folder / f"{split}_{index:04d}.npy")
                for folder in ("points", "instance_mask", "semantic_mask")
            ]
            assert len({len(array) for array in arrays}) == 1
            np.testing.assert_array_equal(arrays[1] == 0, arrays[2] == rooms.NOTHING)
    objects = json.loads((data / "manifest.json").read_text())["objects"]
    names = [
        n for r in read_infos(str(data / "rooms_aligned_train.pkl")).records for n in r["names"]
    ]
    assert objects["train"] == {name: names.count(name) for name in CLASSES}


def test_second_call_changes_nothing_and_other_recipes_replace(tmp_path):
    seen = []
    root = rooms.prepare(tmp_path / "rooms", counts={"val": 1}, report=lambda *n: seen.append(n))
    assert seen == [(1, 1)]
    path = root / "points" / "val_0000.npy"
    before, content = path.stat().st_mtime_ns, path.read_bytes()
    rooms.prepare(root, counts={"val": 1})
    assert path.stat().st_mtime_ns == before
    rooms.prepare(root, counts={"val": 2})
    assert path.read_bytes() == content  # scenes of a smaller set are those of the whole one
    path.unlink()
    rooms.prepare(root, seed=1, counts={"val": 2})
    assert path.read_bytes() != content
    assert [path.name for path in tmp_path.iterdir()] == ["rooms"]
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="remove it or name another folder"):
        rooms.prepare(tmp_path, counts={"val": 1})


def test_command_prints_reference_scores(data, monkeypatch, capsys):
    """With the counts of the test's set, which the command takes for granted otherwise."""
    whole = rooms.prepare
    monkeypatch.setattr(rooms, "prepare", lambda *args, **kw: whole(*args, counts=SMALL, **kw))
    monkeypatch.setattr(sys, "argv", ["rooms.py", "--out", str(data)])
    runpy.run_path(str(ROOT / "tools/dataset_converters/rooms.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    for form in rooms.FORMS:
        for split in ("val", "other"):
            row = next(line for line in lines if line.startswith(f"{form} {split}"))
            cells = row.removeprefix(f"{form} {split}").replace("/", " ").split()
            scores = [float(cell) for cell in cells]
            assert len(scores) == 8
            chance, sizes, with_type, oracle = scores[::2]
            assert chance < 60
            assert sizes <= with_type + 1e-6
            assert oracle == 100
