"""MI-AOD's RetinaNet head against the official code, run on a CPU in float32.

``mi_aod.npz`` has the official losses and uncertainties, every ninth gradient and every
seventeenth output; where the whole files are at hand (MMEXT_GOLDEN), these are compared in full.
Gradients of labelled images in the stages ``min`` and ``max`` are those of ``label``, but for the
parameters that are frozen.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_miaod import RETINA, build, sample, total, unlabeled
from torch import Tensor, nn

from mmext.checkpoints.mi_aod import convert_mi_aod
from mmext.detection.mi_aod import (
    image_class_scores,
    image_class_targets,
    image_uncertainty,
    pseudo_class_targets,
)

DATA = Path(__file__).parents[2] / "data" / "mi_aod.npz"
GOLDEN = Path(os.environ.get("MMEXT_GOLDEN", "../shared/golden")) / "mi_aod"
REGIMES = dict(base="retina_head.npz", confident="retina_head_confident.npz")
STEPS = {"label": (0, "L"), "min": (1, "LU"), "max": (2, "LU")}
CASES = [(s, kind) for s, (_, kinds) in STEPS.items() for kind in kinds]
OURS = dict(
    l_det_cls="loss_cls",
    l_det_loc="loss_bbox",
    l_imgcls="loss_img_cls",
    l_wave_dis="loss_dis_min",
    l_wave_dis_minus="loss_dis_max",
)


class Golden:
    """The stored numbers of one regime, in full or thinned out."""

    def __init__(self, regime: str, *, full: bool) -> None:
        if full:
            if not (GOLDEN / REGIMES[regime]).exists():
                pytest.skip(f"{GOLDEN / REGIMES[regime]} is not here (MMEXT_GOLDEN)")
            with np.load(GOLDEN / REGIMES[regime]) as file:
                self.arrays = {name: file[name] for name in file.files}
            return
        with np.load(DATA) as file:
            arrays = {name: file[name] for name in file.files}
        shared = {k: v for k, v in arrays.items() if not k.startswith(("base/", "confident/"))}
        prefix = f"{regime}/"
        own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        self.arrays = {**shared, **own}

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(np.asarray(self.arrays[name]))

    def head(self) -> nn.Module:
        head = build(RETINA)
        state = {n[3:]: self[n] for n in self.arrays if n.startswith("sd/")}
        head.load_state_dict(convert_mi_aod(state).state_dict, strict=True)
        return head

    def feats(self) -> list[Tensor]:
        return [self[f"feat{i}"].requires_grad_() for i in range(3)]

    def samples(self, kind: str) -> list:
        if kind == "U":
            return unlabeled()
        return [sample(self[f"gt_bboxes{b}"], self[f"gt_labels{b}"]) for b in range(2)]


@pytest.fixture(params=["compact", "full"])
def full(request) -> bool:
    return request.param == "full"


def error(ours: Tensor, official: Tensor, *, step: int) -> float:
    """Largest difference, relative to the largest official value; ours thinned if that is."""
    ours = ours.detach()
    if ours.numel() != official.numel():
        ours = ours.flatten()[::step]
    assert ours.numel() == official.numel()
    return float((ours.reshape(official.shape) - official).abs().max() / official.abs().max())


def our_names(golden: Golden) -> dict[str, str]:
    """Our name of each official parameter."""
    official = [name[3:] for name in golden.arrays if name.startswith("sd/")]
    places = {name: torch.tensor(i) for i, name in enumerate(official)}
    converted = convert_mi_aod(places).state_dict
    return {official[int(place)]: name for name, place in converted.items()}


def run(golden: Golden, stage: str, kind: str) -> tuple[nn.Module, list[Tensor], dict]:
    head, feats = golden.head(), golden.feats()
    head.set_stage(stage)
    losses = head.loss(feats, golden.samples(kind))
    total(losses).backward()
    return head, feats, losses


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize(("stage", "kind"), CASES)
def test_losses(regime, stage, kind, full):
    golden = Golden(regime, full=full)
    _, _, losses = run(golden, stage, kind)
    prefix = f"retina/stage{STEPS[stage][0]}{kind}/"
    checked = set()
    for theirs, name in OURS.items():
        ours = name + ("_pseudo" if kind == "U" and theirs == "l_imgcls" else "")
        if ours not in losses:  # the official code has a zero there, or nothing
            assert not golden.arrays.get(prefix + theirs, np.zeros(1)).any()
            continue
        levels = losses[ours] if isinstance(losses[ours], list) else [losses[ours]]
        official = golden[f"{prefix}{theirs}/per_level"]
        found = torch.stack(levels).double().reshape(-1).detach()
        torch.testing.assert_close(found, official, rtol=2e-6, atol=1e-7)
        checked.add(ours)
    assert checked == losses.keys()
    torch.testing.assert_close(
        total(losses).double().detach(), golden[prefix + "total"], rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize(("stage", "kind"), CASES)
def test_gradients(regime, stage, kind, full):
    golden = Golden(regime, full=full)
    head, feats, _ = run(golden, stage, kind)
    prefix = f"retina/stage{STEPS[stage][0]}{kind}/grad"
    if not full and kind == "L":
        prefix = "retina/stage0L/grad"
    names = our_names(golden)
    found = [name for name in golden.arrays if name.startswith(prefix)]
    assert found
    for name in found:
        rest = name.removeprefix(prefix)
        if rest.startswith("_feat"):
            if kind == "L" and stage == "max":
                continue  # not stored, and without the loss of images not that of stage 0
            ours = feats[int(rest[-1])].grad
        else:
            parameter = names[rest[1:]]
            if kind == "L" and stage == "max" and parameter.startswith("f_mil_"):
                continue
            ours = head.get_parameter(parameter).grad
        official = golden[name]
        if official.any():
            assert error(ours, official, step=9) < 3e-6, name
        else:
            assert not ours.any()


@pytest.mark.parametrize("stage", ["min", "max"])
def test_regressor_has_a_gradient_of_zero_from_unlabelled_images(stage):
    head, _, _ = run(Golden("base", full=False), stage, "U")
    for name in ("reg_convs.0.conv.weight", "retina_reg.bias"):
        grad = head.get_parameter(name).grad
        assert grad is not None
        assert not grad.any()


def test_outputs(full):
    golden = Golden("base", full=full)
    head, feats = golden.head(), golden.feats()
    first, boxes = head(feats)
    branches = dict(f1=first, f2=head.branch_scores(feats, "f_2_"), fr=boxes)
    logits = [head._flat(branches[name]) for name in ("f1", "f2")]
    branches["mil"] = head._instance_scores(*logits, head.branch_scores(feats, "f_mil_"))
    for name, levels in branches.items():
        for i, level in enumerate(levels):
            assert error(level, golden[f"out/{name}_level{i}"], step=17) < 1e-6, (name, i)


@pytest.mark.parametrize("regime", REGIMES)
def test_classes_of_images(regime):
    golden = Golden(regime, full=False)
    head, feats = golden.head(), golden.feats()
    logits = [head._flat(head.branch_scores(feats, prefix)) for prefix in ("", "f_2_")]
    found = head._instance_scores(*logits, head.branch_scores(feats, "f_mil_"))
    torch.testing.assert_close(
        image_class_scores(found), golden["mil/img_score"], rtol=1e-6, atol=0
    )
    pseudo = pseudo_class_targets(*logits)
    assert torch.equal(pseudo, golden["mil/pseudo_multi_hot"])
    if regime == "base":
        targets = image_class_targets([golden[f"gt_labels{b}"] for b in range(2)], 4)
        assert torch.equal(targets, golden["mil/gt_multi_hot"])
        raised = [[level + 3 for level in levels] for levels in logits]
        assert torch.equal(
            pseudo_class_targets(*raised), golden["mil/pseudo_multi_hot_logits_plus3"]
        )


def test_uncertainty(full):
    golden = Golden("base", full=full)
    head, feats = golden.head(), golden.feats()
    for k in (1, 10, 100, 10000):
        scores = head.image_scores(feats, topk=k)
        official = torch.stack([golden[f"unc/img{b}_k{k}"] for b in range(2)])
        torch.testing.assert_close(scores.double(), official, rtol=1e-6, atol=0)
    anchors = [
        image_uncertainty([a], [b], topk=1)
        for a, b in zip(*anchor_logits(head, feats), strict=True)
    ]
    for b in range(2):
        ours = torch.stack([a[b] for a in anchors])
        assert error(ours, golden[f"unc/anchor_img{b}"], step=17) < 1e-6


def anchor_logits(head: nn.Module, feats: list[Tensor]) -> list[tuple[Tensor, ...]]:
    """The logits of both classifiers, anchor by anchor: (B, 1, K) each."""
    with torch.no_grad():
        return [
            torch.cat(head._flat(head.branch_scores(feats, prefix)), 1).split(1, 1)
            for prefix in ("", "f_2_")
        ]


@pytest.mark.parametrize("regime", REGIMES)
def test_minimum_and_maximum_add_up_to_a_constant(regime):
    golden = Golden(regime, full=False)
    smallest = sum(run(golden, "min", "U")[2]["loss_dis_min"])
    largest = sum(run(golden, "max", "U")[2]["loss_dis_max"])
    # Factor * images * levels / classes.
    torch.testing.assert_close(smallest + largest, torch.tensor(0.5 * 2 * 3 / 4))


def test_no_pseudo_label():
    """The third regime of the official runs: scores 9 lower, so no class reaches a half."""
    golden = Golden("base", full=False)
    head, feats = golden.head(), golden.feats()
    with torch.no_grad():
        head.retina_cls.bias -= 9
        head.f_2_retina_cls.bias -= 9
    head.set_stage("min")
    losses = head.loss(feats, unlabeled())
    assert losses["loss_img_cls_pseudo"] == 0
    total(losses).backward()
    assert not head.f_mil_retina_cls.weight.grad.any()
    assert head.retina_cls.weight.grad.any()


def test_float64_agrees():
    golden = Golden("base", full=False)
    _, _, single = run(golden, "min", "U")
    head = golden.head().double()
    head.set_stage("min")
    feats = [feat.detach().double() for feat in golden.feats()]
    double = head.loss(feats, unlabeled())
    assert double["loss_img_cls_pseudo"].dtype == torch.float64
    torch.testing.assert_close(total(double), total(single).double(), rtol=1e-6, atol=0)
