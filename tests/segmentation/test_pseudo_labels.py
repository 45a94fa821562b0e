"""Pseudo labels: BDL's thresholds in constant memory, files that can be resumed."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmext.segmentation.pseudo_labels import (
    BINS,
    ConfidenceHistogram,
    PseudoLabelRule,
    PseudoLabelWriter,
    confident_labels,
    generate_pseudo_labels,
    quantise_confidence,
    select_labels,
)

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "segmentation" / "pseudo_labels.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as data:
        return {name: torch.from_numpy(np.array(data[name])) for name in data.files}


def histogram(label, confidence, classes=19):
    found = ConfidenceHistogram(classes)
    for one, sure in zip(label, confidence, strict=True):
        found.update(one, quantise_confidence(sure))
    return found


def test_thresholds_equal_the_official_ones_within_a_step(golden):
    steps = PseudoLabelRule().steps(histogram(golden["label"], golden["prob"]))
    error = golden["threshold"] - steps / BINS
    assert error.min() >= 0
    assert error.max() < 1 / BINS
    medians = histogram(golden["label"], golden["prob"]).ranked_steps() / BINS
    assert (golden["median_threshold"] - medians).abs().max() < 1 / BINS
    assert steps[16] == 0  # never predicted


def test_labels_equal_the_official_ones_but_for_pixels_in_the_step(golden):
    steps = PseudoLabelRule().steps(histogram(golden["label"], golden["prob"]))
    found = select_labels(golden["label"], quantise_confidence(golden["prob"]), steps)
    differ = found != golden["pseudo_label"]
    assert differ.float().mean() < 0.001
    threshold = golden["threshold"][golden["label"]]
    assert ((golden["prob"] - threshold).abs()[differ] < 1 / BINS).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 99, 100])
def test_rank_is_the_official_one(count):
    """The element at ``round(n / 2)``, halves to the even neighbour, in ascending order."""
    rng = np.random.default_rng(count)
    steps = np.sort(rng.choice(BINS, count, replace=False))
    found = ConfidenceHistogram(1)
    found.update(torch.zeros(count), torch.from_numpy(steps).int())
    assert found.ranked_steps() == steps[int(np.round(count * 0.5))]


def test_memory_does_not_depend_on_the_number_of_images():
    found = ConfidenceHistogram(3)
    before = found.counts.shape
    for _ in range(5):
        found.update(torch.zeros(10, 10), torch.zeros(10, 10).int())
    assert found.counts.shape == before
    assert found.counts.sum() == 500


def test_fixed_rule_of_the_paper(golden):
    rule = PseudoLabelRule(kind="fixed", ceiling=0.9)
    steps = rule.steps(histogram(golden["label"], golden["prob"]))
    found = select_labels(golden["label"], quantise_confidence(golden["prob"]), steps)
    sure = golden["prob"] >= 0.9
    near = (golden["prob"] - 0.9).abs() < 1 / BINS
    assert ((found != 255) == sure)[~near].all()


def test_wrong_rules():
    with pytest.raises(ValueError, match="Expected 'class_median' or 'fixed'"):
        PseudoLabelRule(kind="median")
    with pytest.raises(ValueError, match=r"ceiling is 1\.2"):
        PseudoLabelRule(ceiling=1.2)


def test_probabilities_are_enlarged_not_logits():
    logits = torch.randn(1, 3, 4, 5) * 4
    label, confidence = confident_labels(logits, (9, 11), align_corners=True)
    expected = torch.nn.functional.interpolate(
        logits.softmax(1), (9, 11), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(confidence, expected[0].max(0).values)
    assert torch.equal(label, expected[0].argmax(0))


def predictions(count=4):
    torch.manual_seed(0)
    return {
        f"city/{index}.png": (torch.randint(0, 3, (6, 8)), torch.rand(6, 8))
        for index in range(count)
    }


def generate(folder, made, stop_after=None, rule=None, source=None):
    """Write the labels of ``made``; return the names that were predicted."""
    rule, done = rule or PseudoLabelRule(), []

    def predict(name):
        if len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(name)
        return made[name]

    writer = PseudoLabelWriter(folder, 3, rule, source or dict(checkpoint="a"))
    items = [(name, lambda name=name: name) for name in made]
    try:
        generate_pseudo_labels(predict, items, writer)
    except KeyboardInterrupt:
        assert not writer.manifest.exists()
    return done


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def test_files_are_labels_of_confident_pixels(tmp_path):
    made = predictions()
    generate(tmp_path, made)
    label = torch.stack([label for label, _ in made.values()])
    confidence = torch.stack([sure for _, sure in made.values()])
    steps = PseudoLabelRule().steps(histogram(label, confidence, 3))
    expected = select_labels(label, quantise_confidence(confidence), steps)
    for name, want in zip(made, expected, strict=True):
        found = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, want)
    content = json.loads((tmp_path / "pseudo_labels.json").read_text())
    assert content["images"] == 4
    assert content["thresholds"] == pytest.approx((steps / BINS).tolist())
    kept = [(expected[label == c] != 255).float().mean().item() for c in range(3)]
    assert content["kept"] == pytest.approx(kept)
    assert set(contents(tmp_path)) == {*made, "pseudo_labels.json"}


@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_a_stopped_run_goes_on_and_ends_with_the_same_files(tmp_path, stop_after):
    made = predictions()
    generate(tmp_path / "whole", made)
    first = generate(tmp_path / "stopped", made, stop_after=stop_after)
    second = generate(tmp_path / "stopped", made)
    assert first + second == list(made)
    assert contents(tmp_path / "whole") == contents(tmp_path / "stopped")


def test_predictions_of_another_model_are_not_mixed_in(tmp_path):
    made = predictions()
    generate(tmp_path, made, stop_after=2)
    assert generate(tmp_path, made, source=dict(checkpoint="b")) == list(made)
    assert PseudoLabelWriter(tmp_path, 3, PseudoLabelRule(), dict(checkpoint="b")).is_complete()
    assert not PseudoLabelWriter(tmp_path, 3, PseudoLabelRule(), dict(checkpoint="a")).is_complete()


def test_nothing_to_label(tmp_path):
    with pytest.raises(ValueError, match="no image"):
        generate(tmp_path, {})
