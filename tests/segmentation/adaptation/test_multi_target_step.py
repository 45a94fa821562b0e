"""A step towards several targets: which term there is when, who learns from it, what runs once."""

import copy

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from multi_target_task import (
    AsItIs,
    dataset_config,
    multi_target,
    optimizers,
    write_streets,
)
from tiny_segmentation import LABELS, LOAD, PACK, domain
from torch.nn import functional

from mmext.engine import learning
from mmext.segmentation.adaptation import LABBridge
from mmext.segmentation.adaptation.segmentors import raw_logits

TARGETS = ("blue", "dark", "pale")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_streets(tmp_path_factory.mktemp("streets"))


def wrappers(model, kind=None, **options):
    cfg = optimizers(experts=model.experts_learn, adversarial=model.discriminators is not None)
    if kind:
        options["type"] = kind
    for part in cfg.values():
        if isinstance(part, dict):
            part |= copy.deepcopy(options)
    return build_optim_wrapper(model, cfg)


def build(targets=TARGETS, **changes):
    torch.manual_seed(0)
    return MODELS.build(multi_target(targets, **changes))


def batch(root, targets=TARGETS, indices=(0, 1), **changes):
    dataset = DATASETS.build(dataset_config(root, targets) | changes)
    return pseudo_collate([dataset[index] for index in indices])


def gradients(model, data, **options):
    """Return the gradients of each part after a step that updates nothing."""
    model.train_step(data, wrappers(model, accumulative_counts=2, **options))
    parts = {"segmentor": model.segmentor, **{f"expert {k}": v for k, v in model.experts.items()}}
    parts |= {f"judge {k}": v for k, v in (model.discriminators or {}).items()}
    return {
        name: torch.cat(
            [
                torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                for p in part.parameters()
            ]
        )
        for name, part in parts.items()
    }


def literal_terms(model, data):
    """All terms in full, as the formulas have them: no detours, every pass anew."""
    batch = model.data_preprocessor(copy.deepcopy(data), True)
    images, samples = batch["inputs"], batch["data_samples"]
    n, found = len(model.targets), {}

    def maps(network, name):
        return network(images[name], mode="tensor")

    def probabilities(logits, name):
        size = images[name].shape[2:]
        return functional.interpolate(logits, size, mode="bilinear", align_corners=True).softmax(1)

    def bce(target, maps, label):
        scores = model.discriminators[target](maps)
        return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, label))

    for i in model.targets:
        expert, source = model.experts[i], f"red>{i}"
        labels = torch.stack([s.gt_sem_seg.data[0] for s in samples[source]])
        full = functional.interpolate(
            maps(expert, source), labels.shape[1:], mode="bilinear", align_corners=True
        )
        found[f"{source}.decode.loss_ce"] = functional.cross_entropy(full, labels)
        target_maps = probabilities(maps(expert, i), i)
        found[f"{i}.loss_adv"] = model.lambda_adv * bce(i, target_maps, 0.0)
        found[f"{i}.loss_discriminator"] = bce(i, target_maps.detach(), 1.0) / 2
        seen = probabilities(maps(expert, source), source).detach()
        found[f"{source}.loss_discriminator"] = bce(i, seen, 0.0) / 2
        agreement = 0
        for j in model.targets:
            if j != i:
                p = maps(model.experts[j], f"{i}>{j}").softmax(1).detach()
                q = maps(expert, i).softmax(1)
                agreement += (p * (p / q).log()).sum(1).mean() / (n * (n - 1))
        found[f"{i}.loss_consistency"] = model.lambda_consistency * agreement
        p, q = maps(expert, i).softmax(1).detach(), maps(model.segmentor, i).softmax(1)
        found[f"{i}.loss_distillation"] = (
            model.lambda_distillation * (p * (p / q).log()).sum(1).mean() / n
        )
        pairs = list(zip(expert.parameters(), model.segmentor.parameters(), strict=True))
        distance = sum(((a - b.detach()) ** 2).sum() for a, b in pairs)
        found[f"{i}.loss_weights"] = (
            model.lambda_weights * distance / sum(a.numel() for a, _ in pairs)
        )
    return found


@pytest.mark.parametrize("targets", [TARGETS[:2], TARGETS])
def test_terms_and_gradients_are_those_of_the_formulas(root, targets):
    data = batch(root, targets)
    model = build(targets, student_start="own")
    twin = copy.deepcopy(model)
    expected = literal_terms(twin, data)
    found = model.train_step(copy.deepcopy(data), wrappers(model, accumulative_counts=2))
    assert set(found) - set(expected) <= {"loss"} | {f"red>{t}.decode.acc_seg" for t in targets}
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4), name
    judged = sum(value for name, value in expected.items() if "discriminator" in name)
    learnt = sum(value for name, value in expected.items() if "discriminator" not in name)
    assert found["loss"].item() == pytest.approx(learnt.item(), rel=1e-5)
    networks = [*learning(twin.segmentor), *learning(twin.experts)]
    for loss, theirs, ours in (
        (learnt, networks, [*learning(model.segmentor), *learning(model.experts)]),
        (judged, learning(twin.discriminators), learning(model.discriminators)),
    ):
        for wanted, parameter in zip(torch.autograd.grad(loss, theirs), ours, strict=True):
            torch.testing.assert_close(2 * parameter.grad, wanted, rtol=1e-4, atol=1e-7)


def parts_with_gradients(found):
    return {name for name, gradient in found.items() if gradient.abs().max() > 0}


@pytest.fixture
def two(root):
    return batch(root, TARGETS[:2])


ALONE = dict(discriminator=None, lambda_consistency=0.0, lambda_distillation=0.0, lambda_weights=0)


def test_each_loss_reaches_its_networks_only(two):
    """Against a step with the labels of the source alone, gradients change where they should."""

    def step(**changes):
        options = {**ALONE, "student_start": "own", **changes}
        return gradients(build(TARGETS[:2], **options), copy.deepcopy(two))

    labels = step()
    experts = {"expert blue", "expert dark"}
    assert parts_with_gradients(labels) == experts
    judge = dict(type="TinyDiscriminator")
    for changes, expected in (
        (dict(discriminator=judge), experts | {"judge blue", "judge dark"}),
        (dict(lambda_consistency=1.0), experts),
        (dict(lambda_distillation=1.0), {"segmentor"}),
        (dict(lambda_weights=1.0), experts),
        (dict(lambda_weights=1.0, weight_norm=1), experts),
        (dict(lambda_weights=1.0, detach_student=False), experts | {"segmentor"}),
    ):
        found = step(**changes)
        moved = {
            name
            for name, gradient in found.items()
            if not torch.equal(gradient, labels.get(name, 0 * gradient))
        }
        assert moved == expected, changes


def test_teachers_do_not_learn_from_whom_they_teach(two):
    """The consistency of one expert leaves the other alone."""
    model = build(TARGETS[:2])
    inputs = model.data_preprocessor(two, True)["inputs"]
    expert = model.experts["blue"]
    model.consistency_loss("blue", raw_logits(expert, inputs["blue"]), inputs).backward()
    assert all(p.grad.abs().max() > 0 for p in expert.parameters())
    assert all(p.grad is None for p in model.experts["dark"].parameters())


def test_only_experts_learn_while_they_warm_up(two):
    model = build(TARGETS[:2], warmup_iters=2, ramp_iters=4, lambda_weights=10.0)
    optim = wrappers(model)
    start = copy.deepcopy(model.state_dict())
    for _ in range(2):
        logs = model.train_step(copy.deepcopy(two), optim)
        assert not [k for k in logs if k.endswith(("consistency", "distillation", "weights"))]
        assert logs["loss"] == pytest.approx(
            sum(v.item() for k, v in logs.items() if k.endswith(("loss_ce", "loss_adv")))
        )
    moved = {k for k, value in model.state_dict().items() if not torch.equal(value, start[k])}
    assert moved == {k for k in start if not k.startswith("segmentor.")}
    twin = copy.deepcopy(model)
    logs = model.train_step(copy.deepcopy(two), optim)
    assert logs["blue.loss_weights"] == 0  # the first target's expert is where the student begins
    assert logs["dark.loss_weights"] > 0
    # The student begins as that expert, so at the first target there is nothing to distil yet.
    assert logs["blue.loss_distillation"].abs() < 1e-6
    assert logs["dark.loss_distillation"] > 1e-6
    for key, value in twin.experts["blue"].state_dict().items():
        assert not torch.equal(twin.segmentor.state_dict()[key], value)


def test_consistency_and_distillation_grow_linearly(two):
    """A quarter, a half, three quarters, all of it."""
    model = build(TARGETS[:2], warmup_iters=1, ramp_iters=4, student_start="own")
    optim = wrappers(model)
    for part in optim.values():
        for group in part.optimizer.param_groups:
            group["lr"] = 0.0
    seen = [model.train_step(copy.deepcopy(two), optim) for _ in range(7)][1:]
    for name in ("blue.loss_consistency", "dark.loss_distillation"):
        shares = [(logs[name] / seen[-1][name]).item() for logs in seen]
        assert shares == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1], rel=1e-5)
    shares = [logs["blue.loss_weights"] / seen[-1]["blue.loss_weights"] for logs in seen]
    assert shares == [1] * 6


def test_identical_experts_on_unchanged_images_agree(two):
    model = build(TARGETS[:2], bridge=dict(type="AsItIs"), student_start="own")
    model.experts["dark"].load_state_dict(model.experts["blue"].state_dict())
    model.segmentor.load_state_dict(model.experts["blue"].state_dict())
    logs = model.train_step(two, wrappers(model))
    for target in TARGETS[:2]:
        assert logs[f"{target}.loss_consistency"].abs() < 1e-6
        assert logs[f"{target}.loss_distillation"].abs() < 1e-6
        assert logs[f"{target}.loss_weights"] == 0
        assert logs[f"red>{target}.decode.loss_ce"] > 0.1
    assert isinstance(model.data_preprocessor.bridge, AsItIs)
    assert isinstance(build().data_preprocessor.bridge, LABBridge)


@pytest.mark.parametrize("experts", ["separate", "shared_backbone"])
@pytest.mark.parametrize("targets", [TARGETS[:2], TARGETS])
def test_no_network_sees_an_image_twice(root, targets, experts):
    """N experts see the source, their target and the others' targets, the student all targets."""
    n, seen = len(targets), []
    model = build(targets, experts=experts)
    named = [("student", model.segmentor.backbone)]
    named += [(f"expert {k}", v.backbone) for k, v in model.experts.items()][
        : n if experts == "separate" else 1
    ]
    named += [(f"judge {k}", v) for k, v in model.discriminators.items()]

    def remember(name):
        return lambda module, args, out: seen.append(
            (name, args[0].sum(dtype=torch.float64).item())
        )

    for name, part in named:
        part.register_forward_hook(remember(name))
    model.train_step(batch(root, targets), wrappers(model))
    assert len(seen) == len(set(seen))
    calls = {
        kind: sum(name.startswith(kind) for name, _ in seen)
        for kind in ("student", "expert", "judge")
    }
    assert calls == dict(student=n, expert=n * (1 + 1 + n - 1), judge=2 * n)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_memory_of_another_target_is_a_model_and_a_discriminator(root):
    model = build(TARGETS[:2])
    network, judge = parameters(model.segmentor), parameters(model.discriminators["blue"])
    head = parameters(model.segmentor.decode_head)
    for experts, each, shared in (
        ("separate", network + judge, network),
        ("shared_backbone", head + judge, 2 * network - head),
    ):
        for n in (2, 3):
            assert parameters(build(TARGETS[:n], experts=experts)) == shared + n * each


def test_a_shared_backbone_learns_once_from_all_experts(two):
    model = build(TARGETS[:2], experts="shared_backbone")
    first, second = model.experts.values()
    assert first.backbone is second.backbone
    assert first.decode_head is not second.decode_head
    assert model.segmentor.backbone is not first.backbone
    rules = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
    optim = wrappers(model, **rules)
    entries = [p for group in optim["experts"].optimizer.param_groups for p in group["params"]]
    assert len(entries) == len(set(map(id, entries))) == len(list(model.experts.parameters()))
    before = copy.deepcopy(model.state_dict())
    model.train_step(two, optim)
    assert all(not torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_accumulated_gradients_equal_those_of_a_larger_batch(root):
    model = build(TARGETS[:2], student_start="own")
    twin = copy.deepcopy(model)
    model.train_step(batch(root, TARGETS[:2], (0, 1)), wrappers(model))
    optim = wrappers(twin, accumulative_counts=2)
    before = copy.deepcopy(twin.state_dict())
    twin.train_step(batch(root, TARGETS[:2], (0,)), optim)
    assert all(torch.equal(before[name], value) for name, value in twin.state_dict().items())
    twin.train_step(batch(root, TARGETS[:2], (1,)), optim)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_mixed_precision(two):
    """Also while the student, and so its optimiser, has nothing to do."""
    model = build(TARGETS[:2], warmup_iters=1)
    optim = wrappers(model, "mmext.CPUAmpOptimWrapper")
    seen = []
    parts = [model.segmentor.backbone, model.discriminators["blue"]]
    for part in (*parts, *(expert.backbone for expert in model.experts.values())):
        part[0].register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    for _ in range(2):
        logs = model.train_step(copy.deepcopy(two), optim)
        assert all(value.isfinite() for value in logs.values())
    # Experts: source and target, then the other target, too; the judge: both each time.
    assert seen == [torch.bfloat16] * (2 * 2 + 2 * 3 + 2 * 2 + 2)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_gradients_of_mixed_precision_are_near_the_precise_ones(two):
    """Where experts share weights that autocast keeps, also over passes without gradients."""
    options = dict(experts="shared_backbone", lambda_consistency=10.0, student_start="own")
    precise, mixed = (
        gradients(build(TARGETS[:2], **options), copy.deepcopy(two), kind=kind)
        for kind in (None, "mmext.CPUAmpOptimWrapper")
    )
    for name, value in precise.items():
        similarity = torch.cosine_similarity(mixed[name], value, dim=0)
        assert similarity > 0.98, name
        assert mixed[name].norm().item() == pytest.approx(value.norm().item(), rel=0.1), name


def test_an_optimiser_without_gradients_is_not_stepped(two):
    """torch's gradient scaler raises an error if it is."""
    model = build(TARGETS[:2], warmup_iters=3)
    optim = wrappers(model)
    stepped = []
    for name, wrapper in optim.items():
        wrapper.step = lambda name=name: stepped.append(name)
    model.train_step(two, optim)
    assert stepped == ["experts", "discriminators"]
    assert all(wrapper.inner_count == 1 for wrapper in optim.values())


def test_several_sources_are_averaged(root, two):
    source = domain(root, "red", [LOAD, LABELS, PACK])
    twice = batch(root, TARGETS[:2], sources=dict(a=source, b=source))
    found, expected = (gradients(build(TARGETS[:2]), data) for data in (twice, two))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7, msg=name)


def test_frozen_experts_only_teach(two, tmp_path):
    teachers = build(TARGETS[:2], student_start="own")
    paths = {}
    for name, expert in teachers.experts.items():
        paths[name] = str(tmp_path / f"{name}.pth")
        torch.save(dict(state_dict=expert.state_dict(), meta={}), paths[name])
    options = dict(experts="frozen", expert_checkpoints=paths, discriminator=None)
    model = MODELS.build(multi_target(TARGETS[:2], **options))
    model.init_weights()
    model.train()
    assert not any(part.training for part in model.experts.modules())
    before = copy.deepcopy(model.experts.state_dict())
    for name, value in teachers.experts.state_dict().items():
        assert torch.equal(before[name], value)
    inputs = model.data_preprocessor(copy.deepcopy(two), True)["inputs"]
    assert set(inputs) == set(TARGETS[:2])
    logs = model.train_step(two, wrappers(model))
    assert set(logs) == {"loss", "blue.loss_distillation", "dark.loss_distillation"}
    torch.testing.assert_close(model.experts.state_dict(), before, rtol=0, atol=0)
    for name in ("segmentor", "experts.blue"):
        assert (
            model.get_submodule(name).state_dict().keys() == teachers.segmentor.state_dict().keys()
        )


def test_frozen_experts_need_weights_and_nothing_else():
    paths = dict(blue="b.pth", dark="d.pth")
    with pytest.raises(ValueError, match=r"no expert_checkpoints for \['dark'\]"):
        build(TARGETS[:2], experts="frozen", expert_checkpoints=dict(blue="b.pth"))
    with pytest.raises(ValueError, match=r"'frozen' with warmup_iters=0, a discriminator"):
        build(TARGETS[:2], experts="frozen", expert_checkpoints=paths)
    with pytest.raises(ValueError, match="warmup_iters=5"):
        build(
            TARGETS[:2],
            experts="frozen",
            expert_checkpoints=paths,
            discriminator=None,
            warmup_iters=5,
        )


def test_checkpoints_of_another_model_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(dict(state_dict=build().discriminators["blue"].state_dict()), path)
    model = build(TARGETS[:2], expert_checkpoints=dict(dark=str(path)))
    with pytest.raises(ValueError, match=r"model\.expert_checkpoints\.dark: .*other\.pth is no"):
        model.init_weights()


def test_labels_of_targets_are_refused(root, two):
    model = build(TARGETS[:2])
    two["data_samples"]["blue"] = copy.deepcopy(two["data_samples"]["red"])
    for sample in two["data_samples"]["blue"]:
        sample.set_metainfo(dict(role="target"))
    with pytest.raises(ValueError, match="of the target 'blue' comes with labels"):
        model.train_step(two, wrappers(model))
    for sample in two["data_samples"]["blue"]:
        sample.set_metainfo(dict(label_source="pseudo"))
    with pytest.raises(ValueError, match=r"targets\.blue has pseudo labels"):
        model.train_step(two, wrappers(model))


def test_loss_mode_gives_every_parameter_a_gradient(root):
    model = build()
    total, _ = model.parse_losses(model(**model.data_preprocessor(batch(root), True), mode="loss"))
    total.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_loss_mode_has_the_losses_of_a_step(two):
    model = build(TARGETS[:2], student_start="own")
    data = model.data_preprocessor(copy.deepcopy(two), True)
    losses = model(**data, mode="loss")
    logs = model.train_step(two, wrappers(model))
    assert set(losses) == set(logs) - {"loss"}
    for name, value in losses.items():
        assert value.item() == pytest.approx(logs[name].item(), rel=1e-5), name


def test_the_student_predicts(root):
    model = build().eval()
    data = DATASETS.build(domain(root, "pale", [LOAD, LABELS, PACK]))
    loaded = pseudo_collate([data[0]])
    with torch.no_grad():
        ours, theirs = (
            part.test_step(copy.deepcopy(loaded))[0] for part in (model, model.segmentor)
        )
        tensors = [part(torch.zeros(1, 3, 32, 64)) for part in (model, model.segmentor)]
    torch.testing.assert_close(ours.seg_logits.data, theirs.seg_logits.data)
    torch.testing.assert_close(*tensors)
    # The same through the wrapper's preprocessor as through the segmentor's own.
    assert ours.pred_sem_seg.data.shape == (1, 32, 64)


def test_bad_configs_say_what_was_expected(root, two):
    for targets in ([], ["blue"], ["blue", "blue"], ["blue", "a.b"]):
        with pytest.raises(ValueError, match=r"model\.targets is .*use mmext\.BDL"):
            build(targets)
    with pytest.raises(ValueError, match=r"expert_checkpoints has \['pale'\]"):
        build(TARGETS[:2], expert_checkpoints=dict(pale="x.pth"))
    for key in ("experts", "student_start", "weight_norm"):
        with pytest.raises(ValueError, match=rf"model\.{key} is 'some'"):
            build(**{key: "some"})
    model = build()
    with pytest.raises(ValueError, match=r"model\.targets is .*dataset\.targets has \['blue', 'd"):
        model.train_step(copy.deepcopy(two), wrappers(model))
    model = build(TARGETS[:2])
    nobody = copy.deepcopy(two)
    del nobody["inputs"]["red"], nobody["data_samples"]["red"]
    with pytest.raises(ValueError, match="expected one of them to be a source"):
        model.train_step(nobody, wrappers(model))
    one = {key: value["red"] for key, value in two.items()}
    with pytest.raises(TypeError, match=r"Expected train_dataloader\.dataset to be an mmext"):
        model.train_step(one, wrappers(model))
    single = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(TypeError, match=r"segmentor=dict.*experts=dict.*discriminators=dict"):
        model.train_step(two, single)
