import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmext.rotated import split
from mmext.rotated.evaluation import (
    join_detections,
    merge_patches,
    read_labels,
)
from mmext.rotated.split import SplitRecipe, split_dataset, split_recipe
from mmext.rotated.windows import objects_in_windows, window_boxes


def mmrotates_windows(width, height, sizes, gaps):
    """The windows of mmrotate's own splitter, which its wheel ships as a script."""
    import importlib.util
    from pathlib import Path

    import mmrotate

    path = Path(mmrotate.__file__).parent / ".mim/tools/data/dota/split/img_split.py"
    spec = importlib.util.spec_from_file_location("img_split", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_sliding_window(dict(width=width, height=height), sizes, gaps, 0.6)


@pytest.mark.parametrize(
    "size",
    [
        (4000, 3000),
        (1024, 1024),
        (1025, 500),
        (800, 800),
        (300, 200),
        (824 * 2 + 200, 1848),
        (5, 9),
    ],
)
@pytest.mark.parametrize(
    ("sizes", "gaps"), [((1024,), (200,)), ((2048, 1024, 682), (1000, 500, 333))]
)
def test_windows_are_mmrotates(size, sizes, gaps):
    ours = window_boxes(*size, sizes, gaps)
    np.testing.assert_array_equal(ours, mmrotates_windows(*size, sizes, gaps))
    assert (ours[:, :2] >= 0).all()
    assert len(np.unique(ours, axis=0)) == len(ours)


def test_windows_cover_the_image_and_overlap_by_the_gap_at_least():
    boxes = window_boxes(2000, 1024, (1024,), (200,))
    assert boxes.tolist() == [[0, 0, 1024, 1024], [824, 0, 1848, 1024], [976, 0, 2000, 1024]]


def test_objects_of_windows():
    """Inside, on the edge, cut to 70 %, cut to 69 %, outside, without area, beyond the image."""
    boxes = [
        [10, 10, 20, 20],
        [90, 90, 100, 100],
        [93, 40, 103, 50],
        [93.1, 40, 103.1, 50],
        [100, 0, 110, 10],
        [30, 30, 30, 40],
        [-2, 60, 8, 70],
    ]
    corners = np.array([[[a, b], [c, b], [c, d], [a, d]] for a, b, c, d in boxes], float)
    window, item, cut = objects_in_windows(corners, np.array([[0, 0, 100, 100]]))
    assert window.tolist() == [0, 0, 0, 0]
    assert item.tolist() == [0, 1, 2, 6]
    assert cut.tolist() == [False, False, True, True]


def write_set(root, images):
    """Write images of the given sizes with labels; return the two folders."""
    for name in ("images", "labelTxt"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, (shape, labels) in images.items():
        rng = np.random.default_rng(0)
        picture = rng.integers(0, 255, shape, dtype=np.uint8)
        cv2.imwrite(str(root / "images" / f"{name}.png"), picture)
        (root / "labelTxt" / f"{name}.txt").write_text(labels)
    return [root / "images"], [root / "labelTxt"]


SMALL = SplitRecipe(sizes=(64,), gaps=(16,))
TWO_SHIPS = "gsd:1\n50 10 70 10 70 20 50 20 ship 0\n5 5 15 5 15 15 5 15 plane 1\n"


def test_a_split(tmp_path):
    folders = write_set(tmp_path, dict(a__b=((64, 100, 3), TWO_SHIPS), empty=((40, 30, 3), "")))
    counts = split_dataset(*folders, tmp_path / "out", SMALL)
    assert counts == dict(images=2, patches=3, empty=1, objects=3, truncated=1)
    out = tmp_path / "out"
    names = sorted(path.stem for path in (out / "images").iterdir())
    assert names == ["a__b__64__0___0", "a__b__64__36___0", "empty__64__0___0"]
    assert names == sorted(path.stem for path in (out / "annfiles").iterdir())
    # 70 % of the ship are in the first window, all of it in the second.
    first, second, empty = (read_labels(out / "annfiles" / f"{name}.txt") for name in names)
    assert first[1:][0] == ["ship", "plane"]
    assert first[2].tolist() == [2, 1]
    assert (second[1], second[2].tolist()) == (["ship"], [0])
    assert second[0][0, 0].tolist() == [14, 10]
    assert len(empty[1]) == 0
    picture = cv2.imread(str(tmp_path / "images" / "a__b.png"))
    patch = cv2.imread(str(out / "images" / "a__b__64__36___0.png"))
    np.testing.assert_array_equal(patch, picture[:, 36:])
    padded = cv2.imread(str(out / "images" / "empty__64__0___0.png"))
    assert padded.shape == (64, 64, 3)
    assert (padded[40:] == [104, 116, 124]).all()
    assert (padded[:, 30:] == [104, 116, 124]).all()
    assert sorted(path.name for path in out.iterdir()) == ["annfiles", "images", "split.json"]


def test_the_labels_of_patches_merge_into_those_of_the_image(tmp_path):
    """Split, take the labels as detections, merge: the objects of the image come back, once."""
    folders = write_set(tmp_path, dict(P1=((150, 200, 3), TWO_SHIPS)))
    split_dataset(*folders, tmp_path / "out", SMALL)
    files = sorted((tmp_path / "out" / "annfiles").iterdir())
    parts = [read_labels(path) for path in files]
    found = join_detections(
        [path.stem for path in files],
        [part[0] for part in parts],
        [np.full(len(part[1]), 0.5) for part in parts],
        [np.array([["plane", "ship"].index(name) for name in part[1]]) for part in parts],
    )
    merged = merge_patches(found)
    corners, names, _ = read_labels(tmp_path / "labelTxt" / "P1.txt")
    assert len(found) > 2
    np.testing.assert_array_equal(merged.corners[np.argsort(-merged.label)], corners)
    assert names == ["ship", "plane"]


def test_windows_without_objects_can_be_left_out(tmp_path):
    folders = write_set(tmp_path, dict(a=((64, 200, 3), TWO_SHIPS), empty=((40, 30, 3), "")))
    counts = split_dataset(*folders, tmp_path / "out", replace(SMALL, keep_empty=False))
    assert (counts["patches"], counts["empty"]) == (2, 3)
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2


def test_test_images_have_no_labels(tmp_path):
    images, _ = write_set(tmp_path, dict(a=((64, 64, 3), "")))
    counts = split_dataset(images, None, tmp_path / "out", SMALL)
    assert counts == dict(images=1, patches=1, empty=1, objects=0, truncated=0)


@pytest.mark.parametrize("shape", [(40, 40), (40, 40, 4)])
def test_grey_images_and_alpha(tmp_path, shape):
    folders = write_set(tmp_path, dict(a=(shape, "")))
    split_dataset(*folders, tmp_path / "out", SMALL)
    patch = cv2.imread(str(tmp_path / "out" / "images" / "a__64__0___0.png"), -1)
    expected = cv2.imread(str(tmp_path / "images" / "a.png"))
    np.testing.assert_array_equal(patch[:40, :40], expected)


def test_two_workers_write_the_same(tmp_path):
    folders = write_set(tmp_path, {f"i{k}": ((64, 100 + k, 3), TWO_SHIPS) for k in range(3)})
    for workers in (1, 2):
        split_dataset(*folders, tmp_path / f"out{workers}", SMALL, workers=workers)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / out).rglob("*") if path.is_file()}
        for out in ("out1", "out2")
    )
    assert first == second


def test_a_stopped_run_goes_on_and_a_finished_one_returns(tmp_path, monkeypatch):
    folders = write_set(tmp_path, {f"i{k}": ((64, 100, 3), TWO_SHIPS) for k in range(3)})
    calls = []
    plain = split._split_image

    def counted(job, fail_at=None):
        calls.append(job.image.stem)
        if job.image.stem == fail_at:
            raise KeyboardInterrupt
        plain(job)

    monkeypatch.setattr(split, "_split_image", lambda job: counted(job, "i1"))
    with pytest.raises(KeyboardInterrupt):
        split_dataset(*folders, tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileExistsError, match="beginning of another split"):
        split_dataset(*folders, tmp_path / "out", replace(SMALL, min_inside=0.5))
    calls.clear()
    monkeypatch.setattr(split, "_split_image", counted)
    counts = split_dataset(*folders, tmp_path / "out", SMALL)
    assert calls == ["i1", "i2"]
    assert counts["patches"] == 6
    assert split_dataset(*folders, tmp_path / "out", SMALL) == counts
    assert calls == ["i1", "i2"]
    with pytest.raises(FileExistsError, match="another split"):
        split_dataset(*folders, tmp_path / "out", replace(SMALL, gaps=(8,)))


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    folders = write_set(tmp_path, dict(a=((9, 9, 3), "")))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(FileExistsError, match="something else"):
        split_dataset(*folders, tmp_path / "out", SMALL)


def test_bad_input_is_named(tmp_path):
    images, labels = write_set(tmp_path, dict(a=((9, 9, 3), "0 0 5 0 5 5 0 5 ship 0 0\n")))
    with pytest.raises(ValueError, match=r"a\.txt:1: expected 'x1 y1"):
        split_dataset(images, labels, tmp_path / "out", SMALL)
    deep = np.zeros((9, 9), np.uint16)
    cv2.imwrite(str(images[0] / "a.png"), deep)
    with pytest.raises(ValueError, match=r"a\.png has uint16 pixels: expected 8 bits"):
        split_dataset(images, None, tmp_path / "deep", SMALL)
    (images[0] / "a.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"a\.png is no readable image"):
        split_dataset(images, None, tmp_path / "broken", SMALL)
    (images[0] / "b.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"b\.png has no label file .*b\.txt"):
        split_dataset(images, labels, tmp_path / "missing", SMALL)
    with pytest.raises(ValueError, match="have the same name"):
        split_dataset(images * 2, None, tmp_path / "twice", SMALL)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        split_dataset([tmp_path / "none"], None, tmp_path / "none", SMALL)
    with pytest.raises(FileNotFoundError, match="has no images"):
        split_dataset(labels, None, tmp_path / "none", SMALL)
    with pytest.raises(ValueError, match="1 image folders and 2 label folders"):
        split_dataset(images, labels * 2, tmp_path / "none", SMALL)


def test_patches_are_not_split_again(tmp_path):
    images, _ = write_set(tmp_path, {"a__64__0___0": ((9, 9, 3), "")})
    with pytest.raises(ValueError, match="named like a patch"):
        split_dataset(images, None, tmp_path / "out", SMALL)


def test_recipes():
    recipe = split_recipe(1024, 500, [0.5, 1.0, 1.5])
    assert recipe.sizes == (2048, 1024, 682)
    assert recipe.gaps == (1000, 500, 333)
    assert json.dumps(recipe.padding) == "[104, 116, 124]"
    for options, message in (
        (dict(sizes=(64,), gaps=(64,)), "gap 64 of window 64"),
        (dict(sizes=(64, 64), gaps=(1, 2)), "each once"),
        (dict(sizes=(64, 32), gaps=(1,)), "expected pairs"),
    ):
        with pytest.raises(ValueError, match=message):
            SplitRecipe(**options)
    with pytest.raises(ValueError, match="expected one or more positive numbers"):
        split_recipe(1024, 200, [0.0])
