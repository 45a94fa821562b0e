"""Collaborative learning between sources: each loss, who learns from it, what runs how often."""

import copy
from collections import Counter

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from tiny_segmentation import LABELS, LOAD, PACK, bdl, domain, segmentor
from torch.nn import functional

from mmext.segmentation.adaptation.online_labels import class_balanced_labels

NAMES = ("a", "b", "c")


def multi_source(names=("a", "b"), **changes):
    """Return the config of a model for each name."""
    ensemble = dict(type="mmext.SegmentorEnsemble", members={n: segmentor() for n in names})
    ensemble |= {k: changes.pop(k) for k in ("share_backbone", "test") if k in changes}
    return dict(type="mmext.MultiSourceAdaptation", segmentor=ensemble, ramp_iters=10) | changes


def build(*args, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(multi_source(*args, **kwargs)).train()


def wrappers(model, **options):
    part = dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9), **options)
    cfg = dict(constructor="mmext.MultiOptimWrapperConstructor", segmentor=part)
    return build_optim_wrapper(model, cfg)


@pytest.fixture
def batch(domains):
    """Make a batch of two images of each domain; sources show different ones."""

    def make(names=("a", "b"), targets=("blue",), first=0):
        pipeline = [LOAD, LABELS, PACK]
        sources = {name: domain(domains, "red", pipeline) for name in names}
        unlabelled = {name: domain(domains, "blue", [LOAD, PACK]) for name in targets}
        dataset = DATASETS.build(
            dict(type="mmext.MultiDomainDataset", sources=sources, targets=unlabelled)
        )
        count = len(names) + len(targets)
        picks = [[(first + shift + k) % 8 for k in range(count)] for shift in (0, 4)]
        return pseudo_collate([dataset[pick] for pick in picks])

    return make


def literal_losses(model, data, *, teacher, ramp):
    """The sums of each model's losses as the paper's equations have them, in plain torch."""
    images = {k: torch.stack(v).float().sub(128).div(64) for k, v in data["inputs"].items()}
    nets = dict(model.segmentor.members.items())
    logits = {
        (net, name): nets[net].decode_head(nets[net].backbone(image))
        for net in nets
        for name, image in images.items()
    }

    def enlarged(net, name):
        size = images[name].shape[2:]
        return functional.interpolate(
            logits[net, name], size=size, mode="bilinear", align_corners=True
        )

    def kl(p_key, q_key):
        p, q = logits[p_key].detach().softmax(1), logits[q_key].softmax(1)
        return (p * (p / q).log()).sum(1).mean()

    pseudo = class_balanced_labels(
        sum(enlarged(net, "blue").softmax(1) for net in nets).detach() / len(nets)
    )
    found = {}
    for i in nets:
        labels = torch.stack([s.gt_sem_seg.data[0] for s in data["data_samples"][i]])
        own = functional.cross_entropy(enlarged(i, i), labels, ignore_index=255)
        others = [k for k in nets if k != i]
        specialists = sum(kl((k, k), (i, k)) for k in others) / len(others)
        if teacher == "mutual":
            returned = sum(kl((k, i), (i, i)) for k in others) / len(others)
            specialists = (specialists + returned) / 2
        target = functional.cross_entropy(enlarged(i, "blue"), pseudo, ignore_index=255)
        found[i] = own + 0.5 * specialists + 0.1 * ramp * target
    return found


@pytest.mark.parametrize("teacher", ["specialist", "mutual"])
@pytest.mark.parametrize("names", [NAMES[:2], NAMES])
def test_steps_equal_literal_ones(batch, teacher, names):
    model = build(names, teacher=teacher)
    twin = copy.deepcopy(model)
    optim = wrappers(model)
    plain = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    for step in range(3):
        data = batch(names, first=step)
        losses = literal_losses(twin, data, teacher=teacher, ramp=step / 10)
        plain.zero_grad()
        sum(losses.values()).backward()
        plain.step()
        logs = model.train_step(data, optim)
        assert logs["loss"].item() == pytest.approx(sum(losses.values()).item(), rel=1e-5)
        for name in names:
            parts = [v for k, v in logs.items() if f".{name}." in k and "loss" in k]
            assert sum(parts).item() == pytest.approx(losses[name].item(), rel=1e-5)
    for (name, ours), theirs in zip(
        model.segmentor.state_dict().items(), twin.segmentor.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7, msg=name)


def preprocessed(model, data):
    return model.data_preprocessor(data, True)


def learners(model, loss):
    """Return the names of the models that get gradients from a loss."""
    found = set()
    for name, member in model.segmentor.members.items():
        gradients = torch.autograd.grad(
            loss, list(member.parameters()), retain_graph=True, allow_unused=True
        )
        if any(g is not None and g.abs().sum() > 0 for g in gradients):
            found.add(name)
    return found


@pytest.mark.parametrize("teacher", ["specialist", "mutual"])
def test_only_the_taught_model_learns(batch, teacher):
    model = build(NAMES, teacher=teacher)
    data = preprocessed(model, batch(NAMES))
    losses = model.source_losses("b", data["inputs"]["b"], data["data_samples"]["b"])
    expected = {"b.decode.loss_ce": "b", "a.loss_col": "a", "c.loss_col": "c"}
    if teacher == "mutual":
        expected["b.loss_col"] = "b"
    assert {k for k in losses if "loss" in k} == set(expected)
    for key, name in expected.items():
        assert learners(model, losses[key]) == {name}, key
    model.iteration = 5
    for key, loss in model.target_losses(data["inputs"]["blue"]).items():
        if "loss" in key:
            assert learners(model, loss) == {key.partition(".")[0]}


def test_models_that_agree_have_nothing_to_teach(batch):
    model = build(NAMES)
    first = model.segmentor.members["a"].state_dict()
    for member in model.segmentor.members.values():
        member.load_state_dict(first)
    losses = model(**preprocessed(model, batch(NAMES)), mode="loss")
    found = {k: v.item() for k, v in losses.items() if k.endswith("loss_col")}
    assert len(found) == 6
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-6)


def test_pseudo_labels_count_more_and_more(batch):
    model = build()
    image = preprocessed(model, batch())["inputs"]["blue"]
    figures = []
    for iteration in (0, 5, 10, 30):
        model.iteration = iteration
        figures.append(model.target_losses(image)["a.loss_target"].item())
    assert figures[0] == 0
    assert figures[2] == pytest.approx(2 * figures[1])
    assert figures[3] == figures[2] > 0


def test_without_any_confident_pixel(batch):
    model = build(portion=0.0, ceiling=1.0)  # only what is above the highest one
    optim = wrappers(model)
    optim.initialize_count_status(model, 10, 20)
    logs = model.train_step(batch(), optim)
    assert logs["blue.labelled"] == 0
    assert logs["blue.a.loss_target"] == 0
    assert all(p.isfinite().all() for p in model.parameters())


def test_works_without_a_target(batch):
    model, same = build(), build()
    logs = model.train_step(batch(targets=()), wrappers(model))
    assert not any("blue" in name or "target" in name for name in logs)
    same.lambda_target = 0.0
    same.train_step(batch(), wrappers(same))
    for ours, theirs in zip(model.parameters(), same.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_single_source_is_training_on_it_alone(batch):
    model = build(("a",), lambda_target=0.0)
    alone = MODELS.build(bdl(discriminator=None))
    alone.segmentor.load_state_dict(model.segmentor.members["a"].state_dict())
    model.train_step(batch(("a",)), wrappers(model))
    alone.train_step(batch(("a",), targets=()), wrappers(alone))
    theirs = alone.segmentor.state_dict()
    for name, value in model.segmentor.members["a"].state_dict().items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-8)


def test_several_targets_are_averaged(batch):
    once, twice = build(), build()
    for model, targets in ((once, ("blue",)), (twice, ("blue", "cyan"))):
        model.iteration += 10
        data = batch(targets=targets)
        data["inputs"] |= dict.fromkeys(targets, data["inputs"]["blue"])
        model.train_step(data, wrappers(model))
    for ours, theirs in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("names", [NAMES[:2], NAMES])
def test_each_network_sees_each_image_once(batch, names, share):
    model = build(names, share_backbone=share)
    passes = Counter()

    def count(key):
        return lambda module, inputs, output: passes.update([key])

    for name, member in model.segmentor.members.items():
        member.decode_head.conv_seg.register_forward_hook(count(f"head {name}"))
    for number, backbone in enumerate({m.backbone for m in model.segmentor.members.values()}):
        backbone[0].register_forward_hook(count(f"backbone {number}"))
    optim = wrappers(model)
    updates = []
    optim["segmentor"].optimizer.register_step_post_hook(lambda *args: updates.append(1))
    model.train_step(batch(names), optim)
    images = len(names) + 1
    heads = {f"head {name}": images for name in names}
    backbones = {f"backbone {k}": images for k in range(1 if share else len(names))}
    assert passes == heads | backbones
    assert len(updates) == 1


def test_a_shared_backbone_learns_from_all(batch):
    model = build(share_backbone=True)
    first, second = model.segmentor.members.values()
    assert first.backbone is second.backbone
    sizes = sum(p.numel() for p in model.parameters()), sum(p.numel() for p in build().parameters())
    assert sizes[1] - sizes[0] == sum(p.numel() for p in first.backbone.parameters())
    rules = dict(paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10))))
    before = copy.deepcopy(first.backbone.state_dict())
    model.train_step(batch(), wrappers(model, **rules))
    assert not any(torch.equal(before[k], v) for k, v in second.backbone.state_dict().items())
    state = model.state_dict()
    key = "segmentor.members.{}.backbone.0.weight"
    assert torch.equal(state[key.format("a")], state[key.format("b")])
    twin = build(share_backbone=True)
    twin.load_state_dict(state, strict=True)


def test_accumulated_gradients_equal_those_of_a_larger_batch(batch):
    model = build(lambda_target=0.0)
    twin = copy.deepcopy(model)
    data = batch()
    model.train_step(data, wrappers(model))
    optim = wrappers(twin, accumulative_counts=2)
    for index in range(2):
        half = {k: {n: v[index : index + 1] for n, v in part.items()} for k, part in data.items()}
        twin.train_step(half, optim)
    for name, value in model.segmentor.state_dict().items():
        found = twin.segmentor.state_dict()[name]
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6, msg=name)


def test_mixed_precision(batch):
    model = build()
    seen = []
    for member in model.segmentor.members.values():
        member.backbone[0].register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    logs = model.train_step(batch(), wrappers(model, type="mmext.CPUAmpOptimWrapper"))
    assert seen == [torch.bfloat16] * 6
    assert all(value.isfinite() for value in logs.values())


def test_wrong_configs_say_what_was_expected(batch):
    with pytest.raises(TypeError, match=r"model\.segmentor builds a EncoderDecoder.*member for"):
        MODELS.build(multi_source() | dict(segmentor=segmentor()))
    for changes, message in (
        (dict(teacher="student"), r"model\.teacher is 'student'"),
        (dict(ramp_iters=0), r"model\.ramp_iters is 0"),
        (dict(ceiling=2.0), r"ceiling 2\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            build(**changes)
    model = build(("a", "x"))
    with pytest.raises(ValueError, match=r"members are \['a', 'x'\], the sources.*\['a', 'b'\]"):
        model.train_step(batch(), wrappers(model))
