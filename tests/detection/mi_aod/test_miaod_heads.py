"""MI-AOD's heads: what each stage learns from which images."""

import math

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from tiny_miaod import (
    F_1,
    F_2,
    F_MIL,
    F_R,
    RETINA,
    build,
    learning,
    make,
    retina_feats,
    sample,
    step,
    total,
    two_labeled,
    unlabeled,
    values,
)

from mmext.detection.mi_aod import image_class_loss, image_class_targets

# ---- stages


@pytest.mark.parametrize(
    ("stage", "kind", "losses", "children"),
    [
        ("label", "L", "loss_cls loss_bbox loss_img_cls", F_1 + F_2 + F_MIL + F_R),
        ("min", "L", "loss_cls loss_bbox loss_img_cls", F_1 + F_2 + F_MIL + F_R),
        ("min", "U", "loss_dis_min loss_img_cls_pseudo", F_1 + F_2 + F_MIL),
        ("max", "L", "loss_cls loss_bbox", F_1 + F_2 + F_R),
        ("max", "U", "loss_dis_max", F_1 + F_2),
    ],
)
def test_what_learns(stage, kind, losses, children):
    head = make()
    found = step(head, stage, two_labeled() if kind == "L" else unlabeled(), retina_feats())
    assert set(found) == set(losses.split())
    assert learning(head) == set(children)


def test_frozen_classifiers_let_the_gradient_of_the_discrepancy_through():
    head = make()
    for name in F_1 + F_2:
        head.get_submodule(name).requires_grad_(False)
    feats = [feat.requires_grad_() for feat in retina_feats()]
    step(head, "min", unlabeled(), feats)
    assert learning(head) == set(F_MIL)
    assert all(feat.grad.any() for feat in feats)


def test_frozen_features_do_not_stop_the_classifiers():
    head = make().requires_grad_(False)
    for name in F_1 + F_2:
        head.get_submodule(name).requires_grad_(True)
    for samples in (two_labeled(), unlabeled()):
        step(head, "max", samples, retina_feats())
        assert learning(head) == set(F_1 + F_2)


def test_image_loss_teaches_neither_classifier():
    head = make()
    feats = retina_feats()
    head.loss(feats, two_labeled())["loss_img_cls"].backward()
    assert learning(head) == set(F_MIL)


def test_loss_of_images_is_that_of_their_classes():
    head, feats = make(), retina_feats()
    batch: list[DetDataSample] = two_labeled()
    found = head.loss(feats, batch)["loss_img_cls"]
    logits = [head._flat(head.branch_scores(feats, prefix)) for prefix in ("", "f_2_")]
    scores = head._instance_scores(*logits, head.branch_scores(feats, "f_mil_"))
    summed = torch.stack([level.sum(1) for level in scores]).amax(0)
    targets = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(found, image_class_loss(summed, targets))


def test_minimising_and_maximising_move_classifiers_oppositely():
    head, feats = make(), retina_feats()
    grads = []
    for stage in ("min", "max"):
        head.set_stage(stage)
        losses = head.loss(feats, unlabeled())
        (grad,) = torch.autograd.grad(sum(losses[f"loss_dis_{stage}"]), head.retina_cls.weight)
        grads.append(grad)
    assert grads[0].any()
    torch.testing.assert_close(grads[0], -grads[1])


def test_factor_of_the_discrepancy():
    feats = retina_feats()
    half, two = (values(step(make(dis_weight=w), "min", unlabeled(), feats)) for w in (0.5, 2.0))
    torch.testing.assert_close(4 * half["loss_dis_min"], two["loss_dis_min"])
    torch.testing.assert_close(half["loss_img_cls_pseudo"], two["loss_img_cls_pseudo"])


# ---- images


def test_annotations_of_unlabelled_images_are_not_read():
    head, feats = make(), retina_feats()
    expected = values(step(head, "min", unlabeled(), feats))
    broken = unlabeled()
    broken[0].gt_instances = InstanceData(
        bboxes=torch.full((2, 4), math.nan), labels=torch.tensor([10**6, -5])
    )
    broken[1].ignored_instances = InstanceData(bboxes=torch.full((1, 4), math.nan))
    found = values(step(head, "min", broken, feats))
    assert found == expected


@pytest.mark.parametrize("stage", ["min", "max"])
def test_labelled_and_unlabelled_images_in_one_batch(stage):
    head, feats = make(), retina_feats(4)
    labelled, bare = two_labeled(), unlabeled()
    mixed = [labelled[0], bare[0], bare[1], labelled[1]]
    together = values(step(head, stage, mixed, feats))
    apart = {
        **values(step(head, stage, labelled, [f[[0, 3]] for f in feats])),
        **values(step(head, stage, bare, [f[[1, 2]] for f in feats])),
    }
    torch.testing.assert_close(together, apart)


def test_unlabelled_image_where_labels_are_learned():
    bare = unlabeled()
    bare[1].set_metainfo(dict(img_path="pool/7.jpg"))
    bare[0].set_metainfo(dict(labeled=True))
    bare[0].gt_instances = two_labeled()[0].gt_instances
    with pytest.raises(ValueError, match=r"image pool/7\.jpg has labeled=False.*'min'"):
        make().loss(retina_feats(), bare)


@pytest.mark.parametrize("stage", ["label", "min", "max"])
def test_images_without_objects(stage):
    head, feats = make(), retina_feats()
    nothing = [sample([], []), sample([], [])]
    losses = values(step(head, stage, nothing, feats))
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_bbox"] == 0
    assert losses["loss_cls"] > 0
    if stage != "max":
        logits = [head._flat(head.branch_scores(feats, prefix)) for prefix in ("", "f_2_")]
        scores = head._instance_scores(*logits, head.branch_scores(feats, "f_mil_"))
        empty = [torch.empty(0, dtype=torch.long)] * 2
        expected = head._image_class_loss(scores, image_class_targets(empty, 4))
        torch.testing.assert_close(losses["loss_img_cls"], expected.detach())
    mixed = values(step(head, stage, [two_labeled()[0], nothing[0]], feats))
    assert all(loss.isfinite() for loss in mixed.values())
    assert mixed["loss_bbox"] > 0


def test_positives_are_counted_at_least_once_per_image():
    head, feats = make(), retina_feats(1)
    head.set_stage("max")
    (nothing,) = (sample([], []),)
    once = values(head.loss(feats, [nothing]))["loss_cls"]
    twice = values(head.loss([f.repeat(2, 1, 1, 1) for f in feats], [nothing, nothing]))["loss_cls"]
    torch.testing.assert_close(once, twice)


# Two images and what one class's probability is in them.
@pytest.mark.parametrize(
    ("probabilities", "trusted"),
    [((0.9, 0.8), True), ((0.9, 0.5), True), ((0.9, 0.49), False), ((0.1, 0.2), False)],
)
def test_pseudo_labels_count_if_every_image_has_one(probabilities, trusted):
    """A confident image does not count beside one in which nothing is found."""
    head = build(RETINA)
    levels = (8, 4, 2)
    logits = [torch.full((2, 36, s, s), -6.0) for s in levels]
    for image, probability in enumerate(probabilities):
        logits[1][image, 2, 0, 0] = math.log(probability / (1 - probability))
    mil = [torch.zeros(2, 36, s, s, requires_grad=True) for s in levels]
    head.forward = lambda feats: (logits, [torch.zeros(2, 36, s, s) for s in levels])
    head.branch_scores = lambda feats, prefix: mil if prefix == "f_mil_" else logits
    losses = step(head, "min", unlabeled(), [])
    # Every level gives each of the four classes a quarter of its 1.
    expected = (-math.log(1 / 4) - 3 * math.log(3 / 4)) / 4 if trusted else 0.0
    torch.testing.assert_close(losses["loss_img_cls_pseudo"], torch.tensor(expected))
    assert any(level.grad.any() for level in mil) == trusted
    assert sum(losses["loss_dis_min"]) == 0


def test_one_class():
    head = make(num_classes=1)
    one = [sample([[4.0, 6.0, 36.0, 40.0]], [0]), sample([], [])]
    losses = step(head, "label", one, retina_feats())
    assert losses["loss_img_cls"] > 0.1
    assert learning(head) == set(F_1 + F_2 + F_MIL + F_R)
    assert sum(step(head, "min", unlabeled(), retina_feats())["loss_dis_min"]) > 0
    assert set(F_1 + F_2) <= learning(head)


# ---- numbers


@pytest.mark.parametrize("faithful", ["code", "paper"])
@pytest.mark.parametrize("num_classes", [1, 4])
def test_extreme_logits(faithful, num_classes):
    head, feats = make(num_classes=num_classes, faithful=faithful), retina_feats()
    with torch.no_grad():
        for prefix in ("", "f_2_", "f_mil_"):
            output = head.get_submodule(f"{prefix}retina_cls")
            output.weight.mul_(1e4)
    batch = two_labeled()
    for image in batch:
        image.gt_instances.labels.clamp_(max=num_classes - 1)
    assert head(feats)[0][0].abs().max() > 1e4
    for stage, samples in (("label", batch), ("min", unlabeled()), ("max", unlabeled())):
        losses = step(head, stage, samples, feats)
        assert total(losses).isfinite()
        assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)
    assert head.image_scores(feats).isfinite().all()


@pytest.mark.parametrize(("stage", "kind"), [("label", "L"), ("min", "U"), ("max", "U")])
def test_bfloat16(stage, kind):
    head, feats = make(), retina_feats()
    samples = two_labeled() if kind == "L" else unlabeled()
    exact = values(step(head, stage, samples, feats))
    with torch.autocast("cpu", torch.bfloat16):
        assert head(feats)[0][0].dtype == torch.bfloat16
        rough = step(head, stage, samples, feats)
    for name, loss in values(rough).items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, exact[name], rtol=0.03, atol=0.01)
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


# ---- choices


def test_presets():
    assert make().switches.mil_weight == "code"
    paper = make(faithful="paper", mil_level_reduce="max").switches
    assert (paper.mil_weight, paper.det_cls_reduce) == ("paper", "sum")
    assert paper.mil_level_reduce == "max"
    assert paper.img_cls_in_max
    assert not make(faithful="paper", img_cls_in_max=False).switches.img_cls_in_max


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("faithful", "book"),
        ("det_cls_reduce", "max"),
        ("mil_weight", "sigmoid"),
        ("mil_level_reduce", "mean"),
        ("img_cls_reduce", "none"),
        ("img_cls_in_max", "yes"),
        ("mil_init", "xavier"),
    ],
)
def test_a_wrong_choice_is_named(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be .*{value}"):
        build(RETINA, **{name: value})


def test_a_wrong_stage_is_named():
    with pytest.raises(ValueError, match=r"stage must be one of .*'label'.*'train'"):
        make().set_stage("train")


def test_losses_of_the_paper():
    feats = retina_feats()
    code = values(step(make(), "label", two_labeled(), feats))
    summed = values(step(make(det_cls_reduce="sum"), "label", two_labeled(), feats))
    torch.testing.assert_close(summed["loss_cls"], 2 * code["loss_cls"])
    torch.testing.assert_close(summed["loss_bbox"], code["loss_bbox"])
    over_classes = values(step(make(img_cls_reduce="sum"), "label", two_labeled(), feats))
    torch.testing.assert_close(over_classes["loss_img_cls"], 4 * code["loss_img_cls"])
    paper = make(faithful="paper")
    assert "loss_img_cls" in step(paper, "max", two_labeled(), feats)
    assert set(F_MIL) <= learning(paper)
    for name in ("mil_weight", "mil_level_reduce"):
        other = dict(mil_weight="paper", mil_level_reduce="sum")[name]
        changed = values(step(make(**{name: other}), "label", two_labeled(), feats))
        assert (changed["loss_img_cls"] - code["loss_img_cls"]).abs() > 1e-3, name


def test_scores_of_images():
    head, feats = make(), retina_feats()
    logits = [torch.cat(head._flat(head.branch_scores(feats, p)), 1) for p in ("", "f_2_")]
    distance = (logits[0].sigmoid() - logits[1].sigmoid()).abs()
    found = head.image_scores(feats, topk=7, power=1)
    assert not found.requires_grad
    torch.testing.assert_close(found, distance.mean(-1).sort(descending=True)[0][:, :7].mean(1))
    lists = [head._flat(head.branch_scores(feats, p)) for p in ("", "f_2_")]
    weights = torch.cat(head._instance_scores(*lists, head.branch_scores(feats, "f_mil_")), 1)
    weighted = head.image_scores(feats, topk=10**6, power=1, use_mil_weight=True)
    torch.testing.assert_close(weighted, (distance * weights).mean((1, 2)))
