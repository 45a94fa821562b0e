"""Cityscapes: zips as the server wants them, figures as the official script computes them."""

import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
import torch

from mmext.leaderboards import cityscapes

NAMES = [f"berlin_000000_{index:06d}_leftImg8bit" for index in range(2)]


def train_ids(seed, size=cityscapes.SIZE):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 19, (8, 16), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST)


def sample(name, labels):
    return dict(img_path=f"a/{name}.png", pred_sem_seg=dict(data=torch.from_numpy(labels)[None]))


def submission(path, maps):
    metric = cityscapes.CityscapesSubmission(out_file=str(path))
    metric.process({}, [sample(name, labels) for name, labels in maps.items()])
    return metric.evaluate(len(maps))


def official_iou(pred, target):
    """The official script's rule, class by class: ids, void predictions count as misses."""
    lut = cityscapes._TRAIN_IDS
    evaluated = {raw: lut[raw] for raw in range(34) if lut[raw] < 19}
    found = {}
    for raw, index in evaluated.items():
        hit = ((pred == raw) & (target == raw)).sum()
        missed = ((pred != raw) & (target == raw)).sum()
        wrong = ((pred == raw) & np.isin(target, [r for r in evaluated if r != raw])).sum()
        total = hit + missed + wrong
        found[cityscapes.CLASSES[index]] = 100 * hit / total if total else np.nan
    return found


def test_label_ids_of_train_ids():
    found = cityscapes.to_label_ids(np.array([[0, 1, 18, 255]]))
    np.testing.assert_array_equal(found, [[7, 8, 33, 0]])
    with pytest.raises(ValueError, match="train ids up to 19"):
        cityscapes.to_label_ids(np.array([[19]]))


def test_zip_has_the_servers_names_sizes_and_ids(tmp_path):
    maps = {name: train_ids(index) for index, name in enumerate(NAMES)}
    assert submission(tmp_path / "results.zip", maps) == {"images": 2}
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        assert archive.namelist() == [f"{name}.png" for name in NAMES]
        content = archive.read(f"{NAMES[1]}.png")
    ids = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (ids.shape, ids.dtype) == ((1024, 2048), np.uint8)
    np.testing.assert_array_equal(cityscapes._TRAIN_IDS[ids], maps[NAMES[1]])
    assert not cityscapes.check_submission(tmp_path / "results.zip", expected=2)
    assert [path.name for path in tmp_path.iterdir()] == ["results.zip"]


def test_wrong_predictions_are_refused(tmp_path):
    for name, labels, message in (
        (NAMES[0], train_ids(0, (512, 1024)), r"is 1024x512: expected 2048x1024"),
        ("frankfurt", train_ids(0), "expected a name that begins with <city>"),
    ):
        with pytest.raises(ValueError, match=message):
            submission(tmp_path / "results.zip", {name: labels})
    with pytest.raises(ValueError, match=r"Expected a \.zip"):
        cityscapes.CityscapesSubmission(out_file="results")


def test_faults_of_a_submission_are_listed(tmp_path):
    ids = cityscapes.to_label_ids(train_ids(0))
    cv2.imwrite(str(tmp_path / f"{NAMES[0]}.png"), ids[:512])
    cv2.imwrite(str(tmp_path / f"{NAMES[1]}.png"), train_ids(0) * 0 + 3)
    cv2.imwrite(str(tmp_path / "other.png"), ids)
    faults = cityscapes.check_submission(tmp_path)
    for fault, words in zip(
        faults, ("2048x512", "none of the evaluated", "begins with <city>", "2 images"), strict=True
    ):
        assert words in fault
    with pytest.raises(FileNotFoundError, match="neither a folder nor a zip"):
        cityscapes.check_submission(tmp_path / "nothing")


def test_figures_equal_the_official_rule(tmp_path):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 35, (64, 128), dtype=np.uint8)
    pred = np.where(rng.random(target.shape) < 0.7, target, rng.integers(0, 34, target.shape))
    truth, results = tmp_path / "truth" / "berlin", tmp_path / "results"
    truth.mkdir(parents=True)
    results.mkdir()
    cv2.imwrite(str(truth / "berlin_000000_000000_gtFine_labelIds.png"), target)
    cv2.imwrite(str(results / f"{NAMES[0]}.png"), pred.astype(np.uint8))
    figures = cityscapes.evaluate(results, truth.parent)
    expected = official_iou(pred, target)
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    assert figures["mIoU"] == pytest.approx(np.mean(list(expected.values())))

    out = tmp_path / "figures.csv"
    command = [sys.executable, "-m", "mmext.leaderboards.cityscapes", "evaluate"]
    done = subprocess.run(
        [*command, str(results), str(truth), "--out", str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"mIoU          {figures['mIoU']:6.2f}" in done.stdout
    assert out.read_text().startswith("class,IoU\nmIoU,")
    (results / f"{NAMES[0]}.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 1 images have no result"):
        cityscapes.evaluate(results, truth)
    cv2.imwrite(str(results / f"{NAMES[0]}.png"), pred.astype(np.uint8)[:32])
    with pytest.raises(ValueError, match=r"128x32, .*128x64: expected equal sizes"):
        cityscapes.evaluate(results, truth)
    with pytest.raises(FileNotFoundError, match=r"has no \*_gtFine_labelIds\.png"):
        cityscapes.evaluate(results, results)
