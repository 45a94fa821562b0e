"""Entropy, class mixing, region mixing and distillation: their losses, and who learns from them."""

import copy
import math
from collections import Counter

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from tiny_segmentation import LABELS, LOAD, PACK, bdl, domain, segmentor
from torch.nn import functional

from mmext.segmentation.adaptation import class_mix
from mmext.segmentation.adaptation.segmentors import (
    computed_once,
    supervised_losses,
    weighted_pixels,
)


def build(kind, **options):
    torch.manual_seed(0)
    return MODELS.build(dict(type=f"mmext.{kind}", segmentor=segmentor()) | options).train()


def wrappers(model, **options):
    part = dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9), **options)
    cfg = dict(constructor="mmext.MultiOptimWrapperConstructor", segmentor=part)
    return build_optim_wrapper(model, cfg)


@pytest.fixture
def batch(domains):
    def make(sources=("red",), targets=("blue",), change=()):
        pipeline = [LOAD, LABELS, *change, PACK]
        dataset = DATASETS.build(
            dict(
                type="mmext.MultiDomainDataset",
                sources={name: domain(domains, "red", pipeline) for name in sources},
                targets={name: domain(domains, "blue", [LOAD, PACK]) for name in targets},
            )
        )
        count = len(sources) + len(targets)
        return pseudo_collate([dataset[range(i, i + count)] for i in (0, 4)])

    return make


def prepared(model, data):
    out = model.data_preprocessor(data, True)
    return out["inputs"], out["data_samples"]


def test_entropy_is_added_on_targets_only(batch):
    plain = MODELS.build(bdl(discriminator=None))
    model = build("EntropyMinimization", lambda_entropy=0.5)
    plain.load_state_dict(model.state_dict())
    inputs, samples = prepared(model, batch())
    losses, logits = model.segmentor_losses(inputs["blue"], samples["blue"])
    p = logits.softmax(1)
    by_hand = 0.5 * (-(p * p.log()).sum(1) / math.log(3)).mean()
    assert losses["loss_entropy"].item() == pytest.approx(by_hand.item(), rel=1e-5)
    assert "loss_entropy" not in model.segmentor_losses(inputs["red"], samples["red"])[0]
    # In the step its gradients are added to those of the source.
    logs = model.train_step(batch(), wrappers(model))
    assert logs["loss"] == logs["red.decode.loss_ce"] + logs["blue.loss_entropy"]
    plain.train_step(batch(), wrappers(plain))
    assert not torch.equal(model.segmentor.backbone[0].weight, plain.segmentor.backbone[0].weight)


def test_class_mix_loss_by_hand(batch, monkeypatch):
    """One mask, one teacher: labels and weights of the mixed image are what the paper says."""
    model = build("ClassMixAdaptation", strong_augmentation=())
    inputs, samples = prepared(model, batch())
    model.teacher.update_parameters(model.segmentor)
    mask = torch.zeros(2, 32, 64, dtype=torch.bool)
    mask[:, :20] = True
    monkeypatch.setattr(class_mix, "class_mask", lambda labels, num_classes: mask)

    def full(net, x):
        logits = net.decode_head(net.backbone(x))
        return functional.interpolate(logits, size=(32, 64), mode="bilinear", align_corners=True)

    confidence, predicted = full(model.teacher.module, inputs["blue"]).softmax(1).max(1)
    model.threshold = confidence.quantile(0.7).item()
    images = {}
    hook = model.segmentor.backbone.register_forward_hook(
        lambda module, args, out: images.update(mixed=args[0])
    )
    losses = model.mixed_losses("blue", inputs["blue"], inputs["red"], samples["red"])
    hook.remove()
    expected = torch.where(mask[:, None], inputs["red"], inputs["blue"])
    assert torch.equal(images["mixed"], expected)

    trust = losses["trust"]
    assert trust.item() == pytest.approx(0.3, abs=1e-3)
    labels = torch.stack([s.gt_sem_seg.data[0] for s in samples["red"]])
    labels = torch.where(mask, labels, predicted)
    pixels = functional.cross_entropy(full(model.segmentor, expected), labels, reduction="none")
    by_hand = (pixels * torch.where(mask, 1.0, trust)).mean()
    assert losses["decode.loss_ce"].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_the_teacher_follows_slowly_and_learns_by_nothing_else(batch):
    model = build("ClassMixAdaptation", momentum=0.25)
    initial = copy.deepcopy(model.segmentor.state_dict())
    key = "backbone.0.weight"
    optim = wrappers(model)
    assert all(not p.requires_grad for p in model.teacher.parameters())
    model.train_step(batch(), optim)
    # 1 / 2 at the first update, 1 / 3 at the second, then 0.25, which is more than 1 / 5.
    expected = initial[key]
    for share in (1 / 2, 1 / 3, 0.25, 0.25):
        expected = expected.lerp(model.segmentor.state_dict()[key], share)
        torch.testing.assert_close(model.teacher.module.state_dict()[key], expected)
        model.train_step(batch(), optim)
    assert not model.teacher.training
    assert model.segmentor.training


def test_the_teacher_waits_while_gradients_are_accumulated(batch):
    model = build("ClassMixAdaptation")
    optim = wrappers(model, accumulative_counts=2)
    model.train_step(batch(), optim)
    assert model.teacher.steps == 1  # its beginning
    model.train_step(batch(), optim)
    assert model.teacher.steps == 2


def test_class_mix_passes(batch):
    model = build("ClassMixAdaptation")
    passes = Counter()
    for name, net in (("student", model.segmentor), ("teacher", model.teacher.module)):
        net.backbone[0].register_forward_hook(lambda m, i, o, name=name: passes.update([name]))
    logs = model.train_step(batch(("red", "green"), ("blue", "cyan")), wrappers(model))
    assert passes == dict(student=4, teacher=2)
    total = sum(v for k, v in logs.items() if k.endswith("loss_ce")) / 2
    assert logs["loss"].item() == pytest.approx(total.item())
    alone = model.train_step(batch(targets=()), wrappers(model))
    assert {k for k in alone if "loss" in k} == {"loss", "red.decode.loss_ce"}


def test_images_of_different_sizes_cannot_be_mixed(batch):
    larger = dict(type="Resize", scale=(96, 48), keep_ratio=False)
    data = batch(change=(larger,))
    model = build("ClassMixAdaptation")
    with pytest.raises(ValueError, match=r"cannot be mixed.*RandomCrop"):
        model.train_step(data, wrappers(model))


def test_weights_of_pixels_reach_all_heads(batch):
    cfg = segmentor()
    cfg["auxiliary_head"] = dict(cfg["decode_head"])
    model = build("ClassMixAdaptation", segmentor=cfg)
    inputs, samples = prepared(model, batch())
    found = []
    for factor in (1.0, 0.5):
        with weighted_pixels(model.segmentor, torch.full((2, 32, 64), factor)):
            found.append(supervised_losses(model.segmentor, inputs["red"], samples["red"])[0])
    for key in ("decode.loss_ce", "aux.loss_ce"):
        assert found[1][key].item() == pytest.approx(found[0][key].item() / 2)
    assert model.segmentor.decode_head.sampler is None
    model.segmentor.auxiliary_head.loss_by_feat = lambda *args: {}
    with (
        pytest.raises(TypeError, match="FCNHead does not weigh pixels"),
        weighted_pixels(model.segmentor, torch.ones(2, 32, 64)),
    ):
        supervised_losses(model.segmentor, inputs["red"], samples["red"])


def test_a_module_computes_an_input_once_while_told_so():
    calls = []
    layer = torch.nn.Linear(2, 2)
    layer.register_forward_hook(lambda *args: calls.append("hook"))
    first, second = torch.ones(1, 2), torch.zeros(1, 2)
    with computed_once(layer):
        outputs = [layer(first), layer(second), layer(first)]
    assert outputs[0] is outputs[2]
    assert outputs[0] is not outputs[1]
    assert layer(first) is not outputs[0]
    assert "forward" not in vars(layer)


def test_region_mixing_takes_pixels_and_labels_of_two_domains(batch):
    model = build("RegionMixing")
    data = batch(("red", "few"), ())
    data["inputs"]["few"] = [torch.full_like(image, 7) for image in data["inputs"]["few"]]
    for sample in data["data_samples"]["few"]:
        sample.gt_sem_seg.data.fill_(1)
    for sample in data["data_samples"]["red"]:
        sample.gt_sem_seg.data.fill_(2)
    seen = {}
    original = model.segmentor.loss

    def loss(inputs, samples):
        seen.update(images=inputs, labels=torch.stack([s.gt_sem_seg.data[0] for s in samples]))
        return original(inputs, samples)

    model.segmentor.loss = loss
    logs = model.train_step(data, wrappers(model))
    assert set(logs) == {"loss", "mixed.decode.loss_ce", "mixed.decode.acc_seg"}
    few = (seen["images"] == (7 - 128) / 64).all(1)
    assert torch.equal(seen["labels"] == 1, few)
    assert few.float().mean().item() == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match=r"sources are \['red'\].*expects two"):
        model.train_step(batch(), wrappers(model))


def test_a_student_learns_from_the_mean_of_its_teachers_and_from_labels(batch):
    model = build("TeacherDistillation", teachers=dict(x=segmentor(), y=segmentor()), lambda_kl=0.3)
    inputs, samples = prepared(model, batch())
    losses = model.loss(inputs, samples)
    p = sum(t(inputs["blue"]).softmax(1) for t in model.teachers.values()) / 2
    q = model.segmentor(inputs["blue"]).softmax(1)
    by_hand = 0.3 * (p * (p / q).log()).sum(1).mean()
    assert losses["blue.loss_kl"].item() == pytest.approx(by_hand.item(), rel=1e-4)
    before = copy.deepcopy(model.state_dict())
    model.train_step(batch(), wrappers(model))
    moved = {k for k, v in model.state_dict().items() if not torch.equal(before[k], v)}
    assert moved == {k for k in before if k.startswith("segmentor.")}
    assert not any(t.training for t in model.teachers.values())
    # A student that is its only teacher has nothing to learn from it.
    same = build("TeacherDistillation", teachers=dict(x=segmentor()))
    same.teachers["x"].load_state_dict(same.segmentor.state_dict())
    assert same.loss(inputs, samples)["blue.loss_kl"].item() == pytest.approx(0, abs=1e-6)


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match=r"model\.momentum is 0"):
        build("ClassMixAdaptation", momentum=0)
    with pytest.raises(ValueError, match=r"model\.teachers is empty"):
        build("TeacherDistillation", teachers={})
    other = segmentor()
    other["decode_head"]["num_classes"] = 4
    with pytest.raises(ValueError, match=r"model\.teachers\.x has 4 outputs, the student 3"):
        build("TeacherDistillation", teachers=dict(x=other))
