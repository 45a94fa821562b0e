import zipfile

import numpy as np
import pytest

from mmext.rotated.evaluation import (
    join_detections,
    read_ground_truth,
    read_labels,
    read_task_files,
    to_corners,
    write_task_zip,
)

CLASSES = ("plane", "ship", "small-vehicle")


@pytest.fixture
def found():
    """Two ships and a plane in two images."""
    boxes = np.array([[50.123456, 40, 20, 8, 0.3], [10, 10, 5, 5, 0], [1700, 90, 30, 8, -1.1]])
    return join_detections(
        ["P0001", "P0002"],
        [to_corners(boxes[:2]), to_corners(boxes[2:])],
        [np.array([0.1 + 0.2, 1 / 3]), np.array([np.float32(0.7)])],
        [np.array([1, 0]), np.array([1])],
    )


def test_every_class_has_a_file_and_scores_keep_all_digits(found, tmp_path):
    path = write_task_zip(tmp_path / "new" / "Task1.zip", found, CLASSES, task=1)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"Task1_{name}.txt" for name in CLASSES]
        assert archive.read("Task1_small-vehicle.txt") == b""
        lines = archive.read("Task1_ship.txt").decode().splitlines()
        assert archive.read("Task1_plane.txt").decode() == (
            "P0001 0.3333333333333333 7.5 7.5 12.5 7.5 12.5 12.5 7.5 12.5\n"
        )
    assert [line.split()[:2] for line in lines] == [
        ["P0001", "0.30000000000000004"],
        ["P0002", repr(float(np.float32(0.7)))],
    ]
    assert all(len(line.split()) == 10 for line in lines)
    assert [entry.name for entry in path.parent.iterdir()] == ["Task1.zip"]


@pytest.mark.parametrize("task", [1, 2])
@pytest.mark.parametrize("as_folder", [False, True])
def test_what_was_written_is_read_back(found, tmp_path, task, as_folder):
    path = write_task_zip(tmp_path / "out.zip", found, CLASSES, task=task)
    if as_folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "files")
        path = tmp_path / "files"
    back = read_task_files(path, CLASSES, task=task)
    assert back.images == found.images
    order = np.argsort(found.score)
    again = np.argsort(back.score)
    np.testing.assert_array_equal(back.score[again], found.score[order])
    np.testing.assert_array_equal(back.label[again], found.label[order])
    expected = found.corners[order]
    if task == 2:
        low, high = expected.min(axis=1), expected.max(axis=1)
        expected = to_corners(np.hstack([low, high]))
    np.testing.assert_allclose(back.corners[again], expected, atol=5.1e-5)


def test_the_same_detections_give_the_same_bytes(found, tmp_path):
    turned = found.select([2, 0, 1])
    files = [
        write_task_zip(tmp_path / f"{i}.zip", part, CLASSES, task=1).read_bytes()
        for i, part in enumerate((found, turned))
    ]
    assert files[0] == files[1]


def test_a_failed_write_leaves_the_old_file(found, tmp_path, monkeypatch):
    path = write_task_zip(tmp_path / "out.zip", found, CLASSES, task=1)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", fail)
    with pytest.raises(OSError, match="disk full"):
        write_task_zip(path, found.select([0]), CLASSES, task=1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_refuses_what_the_format_cannot_hold(found, tmp_path):
    with pytest.raises(ValueError, match="label 1, but there are 1 classes"):
        write_task_zip(tmp_path / "out.zip", found, CLASSES[:1], task=1)
    with pytest.raises(ValueError, match="task is 3"):
        write_task_zip(tmp_path / "out.zip", found, CLASSES, task=3)
    spaced = join_detections(["a b"], [np.zeros((0, 4, 2))], [np.zeros(0)], [np.zeros(0)])
    with pytest.raises(ValueError, match=r"'a b'.*cannot hold spaces"):
        write_task_zip(tmp_path / "out.zip", spaced, CLASSES, task=1)


def write_class_files(folder, **texts):
    folder.mkdir(exist_ok=True)
    for name in CLASSES:
        (folder / f"Task1_{name}.txt").write_text(texts.get(name.replace("-", "_"), ""))
    return folder


GOOD = "P0001 0.5 0 0 10 0 10 10 0 10\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("P0001 0.5 0 0 10 0 10 10 0", "expected an image name, a score and 8 coordinates, got 9"),
        ("P0001 nan 0 0 10 0 10 10 0 10", "expected finite numbers, got 'P0001 nan"),
        ("P0001 0.5 0 0 10 0 inf 10 0 10", "expected finite numbers"),
        ("P0001 high 0 0 10 0 10 10 0 10", "expected numbers after the image name"),
    ],
)
def test_bad_result_lines_are_named(tmp_path, line, message):
    folder = write_class_files(tmp_path / "results", ship=f"{GOOD}\n{line}\n{GOOD}")
    with pytest.raises(ValueError, match=message) as error:
        read_task_files(folder, CLASSES, task=1)
    assert "Task1_ship.txt:3:" in str(error.value)


def test_missing_and_unknown_class_files_are_named(tmp_path):
    folder = write_class_files(tmp_path / "results", ship=GOOD)
    assert read_task_files(folder, CLASSES, task=1).score.tolist() == [0.5]
    (folder / "Task1_submarine.txt").write_text("")
    with pytest.raises(ValueError, match=r"Task1_submarine\.txt is of no class"):
        read_task_files(folder, CLASSES, task=1)
    (folder / "Task1_plane.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks Task1_plane\.txt.*empty if nothing"):
        read_task_files(folder, CLASSES, task=1)
    with pytest.raises(FileNotFoundError, match="neither a folder nor a zip"):
        read_task_files(tmp_path / "none.zip", CLASSES, task=1)


def test_labels_with_headers_and_without_difficulty(tmp_path):
    path = tmp_path / "P0001.txt"
    path.write_text(
        "\ufeffimagesource:GoogleEarth\ngsd:0.25\n\n"
        "0 0 10 0 10 10 0 10 ship 1\n1.5 2 11 2 11 12 1 12 plane\n5 5 9 5 9 9 5 9 ship 2\n",
        encoding="utf-8",
    )
    corners, names, difficulties = read_labels(path)
    assert corners.shape == (3, 4, 2)
    assert corners[1, 0].tolist() == [1.5, 2]
    assert (names, difficulties.tolist()) == (["ship", "plane", "ship"], [1, 0, 2])
    (tmp_path / "P0002.txt").write_text("")
    truth = read_ground_truth(tmp_path, CLASSES)
    assert truth.images == ("P0001", "P0002")
    assert truth.difficult.tolist() == [True, False, True]
    assert truth.label.tolist() == [1, 0, 1]
    assert len(read_ground_truth(tmp_path, CLASSES, ["P0002"])) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0 10 0 10 10 0 ship 0", "could not convert"),
        ("0 0 10 0 10 10 0 10", "8 columns"),
        ("0 0 10 0 10 10 0 10 large vehicle 0", "11 columns"),
        ("0 0 10 0 10 10 0 10 ship hard", "invalid literal"),
        ("0 0 10 0 nan 10 0 10 ship 0", "not finite"),
    ],
)
def test_bad_label_lines_are_named(tmp_path, line, message):
    path = tmp_path / "P0001.txt"
    path.write_text(f"gsd:1\n{line}\n")
    with pytest.raises(ValueError, match=message) as error:
        read_labels(path)
    assert f"{path}:2:" in str(error.value)


def test_bad_label_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_ground_truth(tmp_path / "none", CLASSES)
    with pytest.raises(FileNotFoundError, match=r"has no \.txt files"):
        read_ground_truth(tmp_path, CLASSES)
    (tmp_path / "P0001.txt").write_text("0 0 10 0 10 10 0 10 tank 0\n")
    with pytest.raises(ValueError, match=r"P0001\.txt: class 'tank' is none of the data set's"):
        read_ground_truth(tmp_path, CLASSES)
    with pytest.raises(FileNotFoundError, match=r"image 'P7' has no label file .*P7\.txt"):
        read_ground_truth(tmp_path, CLASSES, ["P7"])
