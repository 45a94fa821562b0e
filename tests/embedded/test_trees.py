import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmext.embedded import trees
from mmext.embedded.coco_chance import chance_detections

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("deepforest") is None,
    reason="the deepforest package (the source of the tree scenes) is not installed",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return trees.prepare(tmp_path_factory.mktemp("data") / "trees")


def test_boxes_are_cut_to_the_window_and_small_shares_dropped():
    boxes = np.array(
        [
            [10.0, 10, 20, 20],  # inside
            [-4.0, 0, 6, 10],  # 60 % inside
            [95.0, 95, 105, 105],  # a quarter inside
            [95.0, 40, 105, 60],  # exactly half inside
            [200.0, 200, 210, 210],  # elsewhere
        ]
    )
    found = trees.cut_boxes(boxes + 300, (300, 300, 400, 400))
    np.testing.assert_array_equal(found, [[10, 10, 20, 20], [0, 0, 6, 10], [95, 40, 100, 60]])


def test_windows_leave_out_the_rest():
    split = trees.Split((), tile=4, stride=2)
    assert list(trees.windows(9, 5, split)) == [(0, 0, 4, 4), (2, 0, 6, 4), (4, 0, 8, 4)]
    assert list(trees.windows(9, 5, trees.Split((), None, None))) == [(0, 0, 9, 5)]


@needs_package
@pytest.mark.parametrize(
    ("split", "images", "boxes", "size"),
    [
        ("train", 288, 1887, 256),
        ("train_wide", 240, 4956, 448),
        ("validation", 16, 232, 256),
        ("cross", 2, 98, 400),
        ("test", 18, 330, None),
    ],
)
def test_splits(data, split, images, boxes, size):
    coco = COCO(data / "annotations" / f"{split}.json")
    assert (len(coco.imgs), len(coco.anns)) == (images, boxes)
    assert [category["name"] for category in coco.cats.values()] == ["tree"]
    for image in coco.imgs.values():
        assert size is None or (image["width"], image["height"]) == (size, size)
        for annotation in coco.imgToAnns[image["id"]]:
            x, y, w, h = annotation["bbox"]
            assert min(x, y) >= 0
            assert min(w, h) > 0
            assert x + w <= image["width"]
            assert y + h <= image["height"]
    picture = cv2.imread(str(data / image["file_name"]))
    assert picture.shape == (image["height"], image["width"], 3)


@needs_package
def test_ids_are_unique_over_the_splits(data):
    files = [data / "annotations" / f"{split}.json" for split in trees.SPLITS]
    ids = [image_id for file in files for image_id in COCO(file).imgs]
    assert len(set(ids)) == len(ids)


@needs_package
def test_tiles_show_what_their_boxes_say(data):
    """A box and its tile come from the same place of the scene."""
    picture, boxes = trees.read_scene(trees.find_source(), trees.ROAD)
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [picture.shape[1], picture.shape[0]]).all()
    coco = COCO(data / "annotations" / "validation.json")
    for image in coco.imgs.values():
        left, top = map(int, Path(image["file_name"]).stem.split("_")[-2:])
        tile = cv2.imread(str(data / image["file_name"]))
        np.testing.assert_array_equal(tile, picture[top : top + 256, left : left + 256])
        for annotation in coco.imgToAnns[image["id"]]:
            x, y, w, h = annotation["bbox"]
            clipped = boxes.clip([left, top] * 2, [left + 256, top + 256] * 2)
            assert (clipped == [x + left, y + top, x + left + w, y + top + h]).all(axis=1).any()


@needs_package
def test_licence_and_sources_lie_beside_the_data(data):
    text = (data / "ATTRIBUTION.txt").read_text()
    for words in ("NEON", "CC0", "MIT", "DP3.30010.001"):
        assert words in text


@needs_package
def test_second_call_changes_nothing_and_damage_is_mended(data):
    manifest = data / "manifest.json"
    before = manifest.stat().st_mtime_ns
    trees.prepare(data)
    assert manifest.stat().st_mtime_ns == before
    lost = next((data / "train").glob("*.png"))
    lost.unlink()
    trees.prepare(data)
    assert lost.is_file()
    assert not list(data.parent.glob(".trees-*"))


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="remove it or name another folder"):
        trees.prepare(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_missing_package_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps deepforest==2\.1\.0"):
        trees.prepare(tmp_path / "trees")
    assert not list(tmp_path.iterdir())


def test_changed_source_is_refused_and_nothing_is_left(monkeypatch, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for scene in (trees.MEADOW, trees.ROAD, trees.OSBS, trees.SOAP):
        (source / f"{scene.stem}.png").write_bytes(b"other")
        (source / f"{scene.stem}.xml").write_bytes(b"other")
    monkeypatch.setattr(trees, "find_source", lambda: source)
    with pytest.raises(ValueError, match=r"crop2\.png is not the file of deepforest 2\.1\.0"):
        trees.prepare(tmp_path / "trees")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_chance_detections_keep_sizes_and_stay_inside(tmp_path):
    coco = dict(
        images=[dict(id=7, width=100, height=50)],
        annotations=[
            dict(id=i, image_id=7, category_id=1, bbox=[0, 0, 100 - i, 10 + i]) for i in range(30)
        ],
    )
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco))
    found = chance_detections(path, seed=1)
    assert found == chance_detections(path, seed=1)
    assert found != chance_detections(path, seed=2)
    for detection, annotation in zip(found, coco["annotations"], strict=True):
        x, y, w, h = detection["bbox"]
        assert [w, h] == annotation["bbox"][2:]
        assert 0 <= x <= 100 - w
        assert 0 <= y <= 50 - h


@needs_package
def test_command_prints_counts_chance_and_licence(data):
    tool = Path(__file__).parents[2] / "tools" / "dataset_converters" / "trees.py"
    run = subprocess.run(
        [sys.executable, tool, "--out", data], capture_output=True, text=True, check=True
    )
    rows = {line.split()[0]: line.split()[1:] for line in run.stdout.splitlines() if line.strip()}
    assert rows["validation"][:2] == ["16", "232"]
    assert 0 < float(rows["validation"][2]) < 0.03
    assert "CC0" in run.stdout
