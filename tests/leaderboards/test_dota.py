import csv
import pickle
import runpy
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from rotated.literal_devkit import ap_of, literal_nms, pixel_iou, polygon_iou, walk_down

from mmext.leaderboards import dota
from mmext.leaderboards.rotated_ap import IOU_THRS, load_predictions
from mmext.rotated.evaluation import join_detections, patch_name, to_corners

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "rotated_leaderboard.py"
CLASSES = ("plane", "ship")


def test_class_names():
    names = {version: dota.class_names(version) for version in dota.VERSIONS}
    assert {version: len(part) for version, part in names.items()} == {
        "1.0": 15,
        "1.5": 16,
        "2.0": 18,
    }
    assert names["2.0"][:16] == names["1.5"]
    assert names["1.5"][:15] == names["1.0"]
    assert names["2.0"][15:] == ("container-crane", "airport", "helipad")
    with pytest.raises(ValueError, match=r"DOTA version '3': expected one of 1.0, 1.5, 2.0"):
        dota.class_names("3")


@pytest.fixture
def scene(tmp_path):
    """Two images of 200 x 100 with upright objects, and detections in patches of 128 px.

    Boxes have whole coordinates, as the labels for Task 2 do.
    """
    rng = np.random.default_rng(0)
    labels = tmp_path / "labelTxt"
    labels.mkdir()
    rows = []
    for image in ("P1", "P__2"):
        lines = []
        for _ in range(8):
            x, y = int(rng.integers(0, 170)), int(rng.integers(0, 70))
            w, h = (int(v) for v in rng.integers(8, 30, 2))
            name = CLASSES[int(rng.integers(2))]
            box = f"{x} {y} {x + w} {y} {x + w} {y + h} {x} {y + h}"
            lines.append(f"{box} {name} {int(rng.random() < 0.3)}\n")
            for left in (0, 72):
                if left <= x and x + w <= left + 128:
                    near = np.array([x - left, y, w, h]) + rng.integers(-3, 4, 4)
                    rows.append((patch_name(image, 128, left, 0), near, CLASSES.index(name)))
        (labels / f"{image}.txt").write_text("".join(lines))
        far = np.array([5, 5, 20, 20])
        rows.append((patch_name(image, 128, 72, 0), far, 0))
    scores = rng.permutation(len(rows)) / len(rows)
    names = sorted({name for name, _, _ in rows})
    samples = []
    for name in names:
        part = [i for i, row in enumerate(rows) if row[0] == name]
        x, y, w, h = np.array([rows[i][1] for i in part], dtype=float).T
        boxes = np.column_stack([x + w / 2, y + h / 2, w, h, np.zeros(len(part))])
        samples.append(
            dict(
                img_id=name,
                pred_instances=dict(
                    bboxes=boxes, scores=scores[part], labels=np.array([rows[i][2] for i in part])
                ),
            )
        )
    pkl = tmp_path / "predictions.pkl"
    pkl.write_bytes(pickle.dumps(samples))
    return pkl, labels


@pytest.mark.parametrize("task", [1, 2])
@pytest.mark.parametrize("mode", ["11points", "area"])
def test_patches_to_ap_against_a_literal_reading(scene, task, mode):
    """Shift, suppress per image and class, match, integrate: each step the slow way."""
    pkl, labels = scene
    found = load_predictions(pkl, CLASSES)
    truth = dota.read_ground_truth(labels, CLASSES)
    assert truth.difficult.any()
    assert truth.images == ("P1", "P__2")
    result = dota.evaluate(found, truth, CLASSES, task=task, eval_mode=mode)
    assert result.iou_thrs == IOU_THRS
    offsets = np.array([[72 if "__72___" in name else 0, 0] for name in found.images])
    whole = found.corners + offsets[found.image][:, None]
    images = np.array([truth.images.index(name.split("__128__")[0]) for name in found.images])
    assert len(found) > len(truth)
    for label in range(2):
        detections = []
        for image in range(2):
            rows = np.flatnonzero((images[found.image] == image) & (found.label == label))
            iou = polygon_iou if task == 1 else pixel_iou
            kept = literal_nms(whole[rows], found.score[rows], 0.1, iou)
            detections += [(image, found.score[rows][k], whole[rows][k]) for k in kept]
        mine = truth.label == label
        columns = truth.image[mine], truth.corners[mine], truth.difficult[mine]
        objects = list(zip(*columns, strict=True))
        wanted = int((~truth.difficult[mine]).sum())
        for row, threshold in enumerate(IOU_THRS):
            verdicts = walk_down(detections, objects, threshold, iou)
            assert result.ap[row, label] == pytest.approx(ap_of(verdicts, wanted, mode), abs=1e-12)
    assert 0.05 < result.mean_ap()[0] < 0.95


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """Run the tool with arguments in this process; return what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_the_tool_writes_zips_tables_and_curves(scene, tmp_path, run_tool):
    pkl, labels = scene
    options = ["--classes", *CLASSES, "--labels", labels]
    shown = run_tool("dota", pkl, *options, "--out", tmp_path / "sub", "--report", tmp_path / "rep")
    assert "Task 1, 2 images, 11points" in shown
    truth = dota.read_ground_truth(labels, CLASSES)
    for task in (1, 2):
        source = tmp_path / "sub" / f"Task{task}.zip"
        with zipfile.ZipFile(source) as archive:
            assert archive.namelist() == [f"Task{task}_{name}.txt" for name in CLASSES]
        submitted = load_predictions(source, CLASSES, task=task)
        result = dota.evaluate(submitted, truth, CLASSES, task=task, merge_iou=None)
        assert f"{100 * result.mean_ap()[0]:.2f}" in shown.split(f"Task {task}, ")[1]
        folder = tmp_path / "rep" / f"task{task}"
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["per_class.csv", "pr_50.csv", "pr_50.png", "pr_75.csv", "pr_75.png"]
        rows = list(csv.reader((folder / "per_class.csv").open()))
        assert rows[0][:6] == ["class", "objects", "difficult", "detections", "AP50", "AP55"]
        assert [row[0] for row in rows[1:]] == [*CLASSES, "mean"]
        assert float(rows[-1][4]) == pytest.approx(100 * result.mean_ap()[0], abs=0.005)
        points = list(csv.DictReader((folder / "pr_50.csv").open()))
        assert len(points) == len(submitted)
        assert max(float(point["recall"]) for point in points) <= 1
        assert (folder / "pr_50.png").read_bytes().startswith(b"\x89PNG")
    # The zip in place of the pickle: the same table.
    again = run_tool("dota", tmp_path / "sub" / "Task1.zip", *options, "--tasks", 1)
    assert again.split("Task 1, ")[1].splitlines() == shown.split("Task 1, ")[1].splitlines()[:9]


def test_the_tool_names_what_is_missing(scene, tmp_path, run_tool, capsys):
    pkl, labels = scene
    for arguments, message in (
        ([], "give --out to write a submission"),
        (["--out", "x", "--report", "y"], "--report needs --labels"),
    ):
        with pytest.raises(SystemExit):
            run_tool("dota", pkl, *arguments)
        assert message in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("P1\n")
    options = ["--classes", *CLASSES, "--labels", labels, "--list", tmp_path / "list.txt"]
    with pytest.raises(ValueError, match="images without ground truth, such as 'P__2'"):
        run_tool("dota", pkl, *options)


def test_load_predictions_names_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pkl' does not exist"):
        load_predictions(tmp_path / "none.pkl", CLASSES)
    path = tmp_path / "bad.pkl"
    for content in (b"no pickle", b"", pickle.dumps([dict(a=1)]), pickle.dumps(7)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.pkl is no list of data samples"):
            load_predictions(path, CLASSES)


def test_a_submission_of_whole_images(tmp_path):
    boxes = [to_corners(np.array([[10.0, 10, 8, 4, 0.5]]))]
    found = join_detections(["P1"], boxes, [np.array([0.123456789])], [np.array([1])])
    first, second = dota.write_submission(found, tmp_path, CLASSES)
    assert (first.name, second.name) == ("Task1.zip", "Task2.zip")
    with zipfile.ZipFile(second) as archive:
        fields = archive.read("Task2_ship.txt").decode().split()
    assert fields[:2] == ["P1", "0.123456789"]
    low, high = boxes[0][0].min(axis=0), boxes[0][0].max(axis=0)
    np.testing.assert_allclose(np.array(fields[2:], float), [*low, *high], atol=5.1e-5)
