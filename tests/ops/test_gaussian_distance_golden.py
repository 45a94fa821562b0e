"""gaussian_distance against numbers of 80 digits: 138 pairs always, all 234 where they are at hand.

``tests/data/rotated_losses/pairs.npz`` holds pairs of boxes (ordinary, thin, tiny, far, degenerate,
equal up to the angle convention) with the distances of eight kinds and their gradients by the ten
entries of a pair. What losses make of a distance follows from these by the chain rule.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mmext.ops import _extension, gaussian_distance

PAIRS = Path(__file__).parents[1] / "data" / "rotated_losses" / "pairs.npz"
FULL = Path(os.environ.get("MMEXT_GOLDEN", "nowhere")) / "rotated_losses"
needs_full = pytest.mark.skipif(not FULL.is_dir(), reason="MMEXT_GOLDEN names no rotated_losses")
both_ways = pytest.mark.parametrize(
    "use_kernel",
    [
        pytest.param(
            True, marks=pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
        ),
        False,
    ],
)
KINDS = {
    "w2sq": dict(kind="gwd"),
    "w2sq_alpha2": dict(kind="gwd", alpha=2.0),
    "kl_pt": dict(kind="kld_pt"),
    "kl_tp": dict(kind="kld"),
    "kl_tp_alpha2": dict(kind="kld", alpha=2.0),
    "bd": dict(kind="bcd"),
    "bd_w12": dict(kind="probiou"),
    "kfiou": dict(kind="kfiou"),
}
# Families of losses in the full set, and how the op is called for them.
FAMILIES = {
    "gwd": dict(kind="gwd", sqrt=True),
    "kld": dict(kind="kld"),
    "kld_a2": dict(kind="kld", alpha=2.0),
    "kld_pt": dict(kind="kld_pt"),
    "kld_symmax": dict(kind="kld_max"),
    "kld_symmin": dict(kind="kld_min"),
    "jd": dict(kind="jeffreys", scale=0.5),
    "jeffreys": dict(kind="jeffreys"),
    "js_tf": dict(kind="js"),
    "bcd": dict(kind="bcd"),
}
OVERLAPS = {
    "probiou_l1": dict(kind="probiou", fun="hellinger"),
    "probiou_l2": dict(kind="probiou"),
    "kfiou_none": dict(kind="kfiou", fun="one_minus"),
    "kfiou_ln": dict(kind="kfiou", fun="neg_log"),
    "kfiou_exp": dict(kind="kfiou", fun="expm1"),
}
# The one pair at which float32 has less than its 2e-6; see where it is used.
NEGATIVE_ANCHOR = "targ_1e-7_like_negative_anchor"


def run(pairs, dtype, **options):
    """Values (N,) and gradients (N, 10) in float64, computed in ``dtype``."""
    boxes = [torch.from_numpy(pairs[name]).to(dtype).requires_grad_() for name in pairs]
    value = gaussian_distance(*boxes, **options)
    gradients = torch.autograd.grad(value.sum(), boxes)
    return value.detach().double().numpy(), torch.cat(gradients, 1).double().numpy()


def boxes_of(archive):
    return {name: archive[name] for name in ("pred", "target")}


def assert_values(value, expected, rtol):
    # Below 1e-15 the expected values themselves are what rounding left of equal boxes.
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=1e-15)


def assert_gradients(gradient, expected, tolerance, rows=slice(None)):
    """Compare with the largest derivative of each row; where boxes are equal, all are noise."""
    error = np.abs(gradient - expected).max(1) / np.maximum(np.abs(expected).max(1), 1e-12)
    assert np.isfinite(gradient).all()
    assert (error < tolerance)[rows].all(), error[rows].max()


@both_ways
@pytest.mark.parametrize("name", KINDS)
def test_distances_in_float64(name, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    archive = np.load(PAIRS)
    value, gradient = run(boxes_of(archive), torch.float64, **KINDS[name])
    assert_values(value, archive[f"val/{name}"], rtol=1e-9)
    assert_gradients(gradient, archive[f"grad/{name}"], 1e-9)
    # Each derivative on its own too, unless it is nothing beside the others of its row.
    expected = archive[f"grad/{name}"]
    noise = 1e-10 * np.abs(expected).max(1, keepdims=True) + 1e-13
    assert (np.abs(gradient - expected) <= 1e-9 * np.abs(expected) + noise).all()


@both_ways
@pytest.mark.parametrize("name", KINDS)
def test_distances_in_float32(name, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    archive = np.load(PAIRS)
    # Rounding the inputs moves some of these pairs, so the truth is that of rounded ones.
    rounded = {key: boxes.astype(np.float32) for key, boxes in boxes_of(archive).items()}
    value, gradient = run(rounded, torch.float32, **KINDS[name])
    monkeypatch.setattr(_extension, "LOADED", False)
    expected, expected_gradient = run(rounded, torch.float64, **KINDS[name])
    np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-12)
    if use_kernel:
        assert_gradients(gradient, expected_gradient, 2e-6)
    else:  # autograd subtracts large numbers where the kernel does not
        usual = archive["name"] != NEGATIVE_ANCHOR
        assert_gradients(gradient, expected_gradient, 5e-6, usual)
        assert_gradients(gradient, expected_gradient, 5e-4)


def derivative_of_loss(distance, options, similarity=False):
    """A second opinion on losses: value and slope as functions of a distance, in numpy."""
    value, slope = options.get("scale", 1.0) * distance, options.get("scale", 1.0)
    functions = {
        "none": lambda d: (d, np.ones_like(d)),
        "log1p": lambda d: (np.log1p(d), 1 / (1 + d)),
        "sqrt": lambda d: (np.sqrt(d), 1 / (2 * np.sqrt(d))),
        "hellinger": lambda d: (
            np.sqrt(-np.expm1(-d)),
            np.exp(-d) / (2 * np.sqrt(-np.expm1(-d))),
        ),
        "one_minus": lambda d: (1 - d, -np.ones_like(d)),
        "neg_log": lambda d: (-np.log(d), -1 / d),
        "expm1": lambda d: (np.expm1(1 - d), -np.exp(1 - d)),
    }
    steps = ["sqrt"] * options.get("sqrt", False) + [options.get("fun", "none")]
    for step in steps:
        value, factor = functions[step](value)
        slope = slope * factor
    if tau := options.get("tau", 0):
        value, slope = (tau - 1 + value) / (tau + value), slope / (tau + value) ** 2
    return value, slope


@both_ways
@pytest.mark.parametrize("fun", ["none", "log1p", "sqrt", "hellinger"])
@pytest.mark.parametrize("sqrt", [False, True])
@pytest.mark.parametrize("tau", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("name", ["w2sq", "kl_tp", "bd"])
def test_losses_follow_from_distances(name, tau, sqrt, fun, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    archive = np.load(PAIRS)
    options = dict(KINDS[name], tau=tau, sqrt=sqrt, fun=fun, scale=0.7)
    value, gradient = run(boxes_of(archive), torch.float64, **options)
    # The chain rule divides rounding errors by roots of small distances.
    apart = archive[f"val/{name}"] > 1e-9
    expected, slope = derivative_of_loss(archive[f"val/{name}"][apart], options)
    assert_values(value[apart], expected, rtol=1e-9)
    assert_gradients(gradient[apart], slope[:, None] * archive[f"grad/{name}"][apart], 1e-9)
    assert np.isfinite(gradient).all()


@both_ways
@pytest.mark.parametrize("fun", ["one_minus", "neg_log", "expm1"])
def test_losses_follow_from_the_overlap(fun, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    archive = np.load(PAIRS)
    value, gradient = run(boxes_of(archive), torch.float64, kind="kfiou", fun=fun)
    expected, slope = derivative_of_loss(archive["val/kfiou"], dict(fun=fun))
    assert_values(value, expected, rtol=1e-9)
    assert_gradients(gradient, slope[:, None] * archive["grad/kfiou"], 1e-9)


@both_ways
def test_combined_divergences(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    archive = np.load(PAIRS)
    boxes = boxes_of(archive)
    one, other = archive["val/kl_tp"], archive["val/kl_pt"]
    value, gradient = run(boxes, torch.float64, kind="jeffreys")
    assert_values(value, one + other, rtol=1e-9)
    assert_gradients(gradient, archive["grad/kl_tp"] + archive["grad/kl_pt"], 1e-9)
    value, gradient = run(boxes, torch.float64, kind="js")
    assert_values(value, 2 * archive["val/bd"], rtol=1e-9)
    assert_gradients(gradient, 2 * archive["grad/bd"], 1e-9)
    # Where both are the same number, either gradient is one of the maximum.
    unequal = np.abs(one - other) > 1e-9 * one
    for kind, first in (("kld_max", one > other), ("kld_min", one <= other)):
        value, gradient = run(boxes, torch.float64, kind=kind)
        assert_values(value, np.where(first, one, other), rtol=1e-9)
        expected = np.where(first[:, None], archive["grad/kl_tp"], archive["grad/kl_pt"])
        assert_gradients(gradient, expected, 1e-9, unequal)


def variants():
    """Options of the op for each of the 203 losses of the full set."""
    settings = json.loads((FULL / "reference_a_losses.json").read_text())
    for name, setting in settings.items():
        if name in OVERLAPS:
            yield name, OVERLAPS[name]
        else:
            options = dict(FAMILIES[setting["family"]])
            for key in ("fun", "tau", "sqrt", "alpha", "normalize"):
                if key in setting and key not in options:
                    options[key] = setting[key]
            yield name, options


@needs_full
@both_ways
def test_all_pairs_and_losses(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    archives = [np.load(FULL / f"reference_a{part}.npz") for part in ("", "_losses")]
    boxes = boxes_of(np.load(FULL / "inputs.npz"))
    equal = np.abs(archives[0]["val/kl_tp"] - archives[0]["val/kl_pt"]) <= (
        1e-9 * archives[0]["val/kl_tp"]
    )
    cases = [("val", archives[0], name, KINDS[name]) for name in KINDS]
    cases += [("loss", archives[1], name, options) for name, options in variants()]
    assert len(cases) == 8 + 203
    for what, archive, name, options in cases:
        value, gradient = run(boxes, torch.float64, **options)
        expected = archive[f"grad/{name}"]
        assert_values(value, archive[f"{what}/{name}"], rtol=1e-9)
        # A root has no gradient at 0; the set says so with NaNs. Ties have two.
        known = ~np.isnan(expected).any(1)
        assert not gradient[~known].any(), name
        if options["kind"] in ("kld_max", "kld_min"):
            known &= ~equal
        assert_gradients(gradient[known], expected[known], 1e-9)


@needs_full
@pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
def test_all_pairs_and_losses_in_float32(monkeypatch):
    inputs = np.load(FULL / "inputs.npz")
    boxes = {key: value.astype(np.float32) for key, value in boxes_of(inputs).items()}
    for name, options in [*KINDS.items(), *variants()]:
        value, gradient = run(boxes, torch.float32, **options)
        monkeypatch.setattr(_extension, "LOADED", False)
        expected, expected_gradient = run(boxes, torch.float64, **options)
        monkeypatch.setattr(_extension, "LOADED", True)
        np.testing.assert_allclose(value, expected, rtol=2e-6, atol=1e-12, err_msg=name)
        # exp(-D) cannot be better than D itself times eps, and at 1e19 the slope 1 / D^2 is no
        # normal number.
        tolerance = np.full(len(value), 2e-6)
        if name == "probiou_l1":
            tolerance *= 1 + run(boxes, torch.float64, kind="probiou")[0]
        tolerance[inputs["name"] == NEGATIVE_ANCHOR] = 2e-5
        assert_gradients(gradient, expected_gradient, tolerance)
