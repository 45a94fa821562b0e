"""MI-AOD's classifiers beside those of the head they are added to."""

import math

import pytest
import torch
from mmdet.models.dense_heads import ATSSHead
from tiny_miaod import (
    F_2,
    F_MIL,
    RETINA,
    build,
    learning,
    make,
    retina_feats,
    step,
    two_labeled,
    unlabeled,
)
from tiny_miaod import with_random_weights as randomised

from mmext.detection.mi_aod import MIAODMixin


@pytest.mark.parametrize("mil_init", [None, "normal"])
def test_starts_like_the_official_head(mil_init):
    head = build(RETINA, feat_channels=64, in_channels=64, mil_init=mil_init)
    head.init_weights()
    for prefix in ("", "f_2_", "f_mil_"):
        output = head.get_submodule(f"{prefix}retina_cls")
        torch.testing.assert_close(output.bias, torch.full((36,), -math.log(99)))
        assert output.weight.std().item() == pytest.approx(0.01, rel=0.05)
        kaiming = prefix == "f_mil_" and mil_init is None
        expected = (2 / (9 * 64)) ** 0.5 if kaiming else 0.01
        for layer in head.get_submodule(f"{prefix}cls_convs"):
            assert layer.conv.weight.std().item() == pytest.approx(expected, rel=0.05)
            assert not layer.conv.bias.any()
    assert head.reg_convs[1].conv.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not head.retina_reg.bias.any()


def test_paper_starts_all_branches_alike():
    head = build(RETINA, feat_channels=64, faithful="paper")
    head.init_weights()
    assert head.f_mil_cls_convs[1].conv.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_classifiers_differ_without_initialisation_too():
    head = build(RETINA)
    assert not torch.equal(head.retina_cls.weight, head.f_2_retina_cls.weight)
    assert head.image_scores(retina_feats()).min() > 0


def test_plain_retinanet_takes_its_half():
    head = make()
    plain = build({**RETINA, "type": "RetinaHead"})
    missing, rest = plain.load_state_dict(head.state_dict(), strict=False)
    assert not missing
    assert rest
    assert all(name.startswith(("f_2_", "f_mil_")) for name in rest)
    feats = retina_feats()
    metas = unlabeled()
    for meta in metas:
        meta.set_metainfo(dict(scale_factor=(1.0, 1.0)))
    for ours, theirs in zip(head.predict(feats, metas), plain.predict(feats, metas), strict=True):
        assert len(ours.scores) > 0
        assert torch.equal(ours.bboxes, theirs.bboxes)
        assert torch.equal(ours.scores, theirs.scores)


def test_only_the_detecting_half_runs_in_tests():
    head = make()
    for name in F_2 + F_MIL:
        head.get_submodule(name).register_forward_hook(lambda *_: pytest.fail("ran"))
    for level in (*head.f_2_cls_convs, *head.f_mil_cls_convs):
        level.register_forward_hook(lambda *_: pytest.fail("ran"))
    metas = unlabeled()
    for meta in metas:
        meta.set_metainfo(dict(scale_factor=(1.0, 1.0)))
    head.predict(retina_feats(), metas)


def test_anchors_are_assigned_once(monkeypatch):
    head, feats = make(), retina_feats()
    calls = []
    assign = head.assigner.assign
    monkeypatch.setattr(head.assigner, "assign", lambda *a, **k: calls.append(1) or assign(*a, **k))
    step(head, "label", two_labeled(), feats)
    assert len(calls) == 2  # images
    step(head, "label", [two_labeled()[1], two_labeled()[0]], feats)
    assert len(calls) == 4  # nothing is kept for the next batch
    step(head, "min", unlabeled(), feats)
    assert len(calls) == 4


def test_around_another_head():
    class MIAODATSSHead(MIAODMixin, ATSSHead):
        cls_branch = ("cls_convs", "atss_cls")

    settings = {k: v for k, v in RETINA.items() if k != "type"}
    settings["anchor_generator"] = dict(
        type="AnchorGenerator",
        ratios=[1.0],
        octave_base_scale=8,
        scales_per_octave=1,
        strides=[8, 16, 32],
    )
    settings["train_cfg"] = dict(
        assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1
    )
    norm = dict(type="GN", num_groups=2)
    settings |= dict(norm_cfg=norm, loss_bbox=dict(type="GIoULoss"), reg_decoded_bbox=True)
    build(RETINA)  # sets the scope in which its parts are found
    head = randomised(MIAODATSSHead(**settings))
    losses = step(head, "label", two_labeled(), retina_feats())
    assert losses.keys() == {"loss_cls", "loss_bbox", "loss_centerness", "loss_img_cls"}
    assert {"f_2_atss_cls", "f_mil_cls_convs", "atss_centerness"} <= learning(head)
    step(head, "min", unlabeled(), retina_feats())
    assert learning(head) >= {"atss_cls", "f_2_atss_cls"}
    assert "atss_centerness" not in learning(head)
    assert head.image_scores(retina_feats()).shape == (2,)
