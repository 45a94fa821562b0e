"""COCO: what a submission holds, and figures like pycocotools'."""

import csv
import json
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmext.leaderboards import coco
from mmext.leaderboards.coco_ap import FIGURES, evaluate, format_table, table_rows, write_table

# As in COCO, ids have gaps, and the model's order is not that of the file.
CATEGORIES = {"zebra": 24, "cat": 17, "toaster": 80}
CLASSES = ("cat", "toaster", "zebra")


def random_boxes(rng, count):
    corner, size = rng.uniform(0, 300, (count, 2)), rng.uniform(4, 200, (count, 2))
    return np.concatenate((corner, corner + size), 1)


@pytest.fixture
def truth(tmp_path):
    """A COCO json with objects of all sizes, crowds, and no toaster."""
    rng = np.random.default_rng(0)
    annotations, boxes = [], {}
    images = [7, 3, 11, 5]
    for image in images[:3]:
        boxes[image] = random_boxes(rng, 8)
        for number, (x1, y1, x2, y2) in enumerate(boxes[image].tolist()):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=(17, 24)[number % 2],
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=int(number == 5),
                )
            )
    content = dict(
        images=[dict(id=image, width=500, height=500, file_name="") for image in images],
        annotations=annotations,
        categories=[dict(id=number, name=name) for name, number in CATEGORIES.items()],
    )
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    return path, boxes


@pytest.fixture
def found(truth):
    """Objects with jitter, some of a wrong class, and boxes where nothing is."""
    rng = np.random.default_rng(1)
    parts = [], [], [], []
    for image in (7, 3, 11, 5):
        near = truth[1].get(image, np.zeros((0, 4)))
        boxes = np.concatenate((near + rng.normal(0, 6, near.shape), random_boxes(rng, 20)))
        labels = np.arange(len(boxes)) % 2 * 2
        wrong = rng.random(len(boxes)) < 0.2
        parts[0].append(image)
        parts[1].append(boxes.astype(np.float32))
        parts[2].append(rng.random(len(boxes)).astype(np.float32))
        parts[3].append(np.where(wrong, 1, labels))
    return coco.join_detections(*parts)


def test_figures_are_those_of_pycocotools(truth, found):
    result = evaluate(found, truth[0], CLASSES)
    reference = COCO(str(truth[0]))
    detections = reference.loadRes(coco.records(found, [17, 80, 24]))
    for label in (None, 0, 2):
        evaluation = COCOeval(reference, detections, "bbox")
        if label is not None:
            evaluation.params.catIds = [CATEGORIES[CLASSES[label]]]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        ours = result.mean if label is None else result.per_class[label]
        expected = np.where(evaluation.stats < 0, np.nan, evaluation.stats)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    assert 0.1 < result.figures()["AP"] < 0.9
    assert tuple(result.figures()) == FIGURES
    assert result.num_objects.tolist() == [12, 0, 9]  # crowds are left out
    assert np.isnan(result.per_class[1]).all()


def test_table(truth, found, tmp_path):
    result = evaluate(found, truth[0], CLASSES)
    rows = table_rows(result)
    assert [row[0] for row in rows] == ["class", *CLASSES, "mean"]
    assert rows[2][1:] == ["0", *["-"] * 12]
    assert rows[-1][2] == f"{100 * result.mean[0]:.1f}"
    assert "toaster" in format_table(result)
    write_table(tmp_path / "new" / "classes.csv", result)
    with (tmp_path / "new" / "classes.csv").open() as file:
        assert list(csv.reader(file)) == rows
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["classes.csv"]


def test_nothing_found(truth):
    empty = [np.zeros((0, 4))] * 4, [np.zeros(0)] * 4, [np.zeros(0, int)] * 4
    result = evaluate(coco.join_detections([7, 3, 11, 5], *empty), truth[0], CLASSES)
    assert result.figures()["AP"] == 0


def test_submission(truth, found, tmp_path):
    path = coco.write_submission(found, tmp_path / "out", truth[0], name="CPN-1.0", classes=CLASSES)
    assert path.name == "detections_test-dev2017_CPN-1.0_results.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["detections_test-dev2017_CPN-1.0_results.json"]
        rows = json.loads(archive.read(archive.namelist()[0]))
    assert len(rows) == len(found.image) > 90
    assert {row["category_id"] for row in rows} == {17, 24, 80}
    for row, image, box, score, label in zip(rows, *found[1:], strict=True):
        assert set(row) == {"image_id", "category_id", "bbox", "score"}
        assert row["image_id"] == image
        assert row["category_id"] == CATEGORIES[CLASSES[label]]
        assert np.float32(row["score"]) == score
        x, y, width, height = row["bbox"]
        np.testing.assert_allclose([x, y, x + width, y + height], box, rtol=0, atol=2e-3)
    before = path.read_bytes()
    coco.write_submission(found, tmp_path / "out", truth[0], name="CPN-1.0", classes=CLASSES)
    assert path.read_bytes() == before
    assert list((tmp_path / "out").iterdir()) == [path]


def test_a_submission_that_fails_leaves_nothing(truth, found, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(coco, "_json_chunks", fail)
    with pytest.raises(OSError, match="disk full"):
        coco.write_submission(found, tmp_path / "out", truth[0], name="x", classes=CLASSES)
    assert not list((tmp_path / "out").iterdir())


def test_json_of_many_rows_is_one_list(monkeypatch, found):
    monkeypatch.setattr(coco, "_ROWS_AT_ONCE", 7)
    rows = json.loads("".join(coco._json_chunks(found, [17, 80, 24])))
    assert rows == coco.records(found, [17, 80, 24])
    assert json.loads("".join(coco._json_chunks(found.take(np.zeros(0, int)), [1]))) == []


def test_the_best_hundred_of_each_image_in_order():
    rng = np.random.default_rng(0)
    scores = [rng.random(130).astype(np.float32), rng.random(3).astype(np.float32)]
    boxes = [np.zeros((len(part), 4)) for part in scores]
    found = coco.join_detections([9, 4], boxes, scores, [np.zeros(len(s), int) for s in scores])
    assert found.images == (9, 4)
    assert found.image.tolist() == [4] * 3 + [9] * 100
    np.testing.assert_array_equal(found.scores[:3], np.sort(scores[1])[::-1])
    np.testing.assert_array_equal(found.scores[3:], np.sort(scores[0])[::-1][:100])


def test_classes_are_cocos_by_default(truth, found):
    assert len(coco.class_names()) == 80
    with pytest.raises(ValueError, match=r"class 'person' is no category of .*instances.json"):
        evaluate(found, truth[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f._replace(images=(*f.images, 99)), "image 99 .* was tested, but is not in"),
        (lambda f: f._replace(images=(7, 3, 11)), "image 5 .* was not tested, but is in"),
        (lambda f: f._replace(labels=f.labels + 1), "label 3, but there are 3 classes"),
    ],
)
def test_detections_that_do_not_fit_the_file(truth, found, change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(change(found), truth[0], CLASSES)


def test_bad_files_and_names(truth, found, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image_info_test-dev2017\.json"):
        coco.read_coco(tmp_path / "none.json")
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(ValueError, match="not valid json"):
        coco.read_coco(bad)
    bad.write_text('{"images": []}')
    with pytest.raises(ValueError, match="no 'categories'"):
        coco.read_coco(bad)
    with pytest.raises(ValueError, match="splits file names at '_'"):
        coco.write_submission(found, tmp_path, truth[0], name="my_net", classes=CLASSES)
    one = [np.zeros((1, 4))], [np.array([np.nan])], [np.zeros(1, int)]
    with pytest.raises(ValueError, match="image 3: 1 boxes or scores are not finite"):
        coco.join_detections([3], *one)
    with pytest.raises(ValueError, match="image 3 was tested more than once"):
        coco.join_detections([3, 3], *(part * 2 for part in one))


def write_pickle(path, found):
    samples = []
    for image in found.images:
        own = found.image == image
        instances = dict(
            bboxes=torch.from_numpy(found.boxes[own]),
            scores=torch.from_numpy(found.scores[own]),
            labels=torch.from_numpy(found.labels[own]),
        )
        samples.append(dict(img_id=image, pred_instances=instances))
    path.write_bytes(pickle.dumps(samples))


def test_command_line(load_leaderboard, truth, found, tmp_path, monkeypatch, capsys):
    predictions = tmp_path / "predictions.pkl"
    write_pickle(predictions, found)
    again = coco.load_predictions(predictions)
    for one, other in zip(again, found, strict=True):
        np.testing.assert_array_equal(one, other)

    common = ["x", str(predictions), "--classes", *CLASSES]
    report = tmp_path / "classes.csv"
    labels = ["--labels", str(truth[0]), "--report", str(report)]
    submission = ["--info", str(truth[0]), "--name", "CPN", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", common + labels + submission)
    load_leaderboard.main()
    printed = capsys.readouterr().out
    assert "toaster" in printed
    assert report.is_file()
    assert (tmp_path / "out" / "detections_test-dev2017_CPN_results.zip").is_file()
    for wrong, message in (
        (common, "give --labels"),
        (common + submission[:2], "needs all of --info"),
        (common + submission + labels[2:], "--report needs --labels"),
    ):
        monkeypatch.setattr(sys, "argv", wrong)
        with pytest.raises(SystemExit):
            load_leaderboard.main()
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"no pickle", pickle.dumps([dict(img_id="a.jpg")])])
def test_predictions_of_another_kind(tmp_path, content):
    path = tmp_path / "predictions.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"predictions\.pkl is no list of data samples"):
        coco.load_predictions(path)
    with pytest.raises(FileNotFoundError, match=r"other\.pkl"):
        coco.load_predictions(tmp_path / "other.pkl")


@pytest.fixture
def load_leaderboard(repo_root):
    import importlib.util

    path = repo_root / "tools" / "analysis_tools" / "coco_leaderboard.py"
    spec = importlib.util.spec_from_file_location("coco_leaderboard", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
