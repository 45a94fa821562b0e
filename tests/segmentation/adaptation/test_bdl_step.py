"""The step of BDL against a literal one, and what it does with odd batches and precisions."""

import copy

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from tiny_segmentation import LABELS, LOAD, PACK, bdl, domain, segmentor
from torch.nn import functional

from mmext.segmentation.adaptation import BDL, MultiDomainDataPreprocessor
from mmext.segmentation.adaptation.segmentors import raw_logits, supervised_losses
from mmext.segmentation.datasets.files import write_png

SEGMENTOR = dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4))
DISCRIMINATOR = dict(optimizer=dict(type="Adam", lr=1e-3, betas=(0.9, 0.99)))


def wrappers(model, kind=None, **options):
    parts = dict(segmentor=SEGMENTOR, discriminator=DISCRIMINATOR)
    if model.discriminator is None:
        del parts["discriminator"]
    if kind:
        options["type"] = kind
    parts = {name: {**part, **options} for name, part in parts.items()}
    cfg = dict(constructor="mmext.MultiOptimWrapperConstructor", **copy.deepcopy(parts))
    return build_optim_wrapper(model, cfg)


@pytest.fixture
def dataset(domains):
    return build_dataset(domains)


def build_dataset(domains, **changes):
    options = dict(
        type="mmext.MultiDomainDataset",
        sources=dict(red=domain(domains, "red", [LOAD, LABELS, PACK])),
        targets=dict(blue=domain(domains, "blue", [LOAD, PACK])),
    )
    return DATASETS.build({**options, **changes})


def batch(dataset, *indices):
    return pseudo_collate([dataset[index] for index in indices])


def with_pseudo_labels(domains, folder, value):
    for index in range(8):
        write_png(folder / f"{index}.png", value)
    target = domain(domains, "blue", [LOAD, LABELS, PACK])
    pseudo = dict(type="mmext.PseudoLabelDataset", dataset=target, label_dir=str(folder))
    return build_dataset(domains, targets=dict(blue=pseudo))


def literal_step(model, data, optimizers, lambda_adv=0.01):
    """The official step, as section 2.1 of the paper and its code have it, in plain torch."""
    net, judge = model.segmentor, model.discriminator
    images = {k: torch.stack(v).float().sub(128).div(64) for k, v in data["inputs"].items()}
    labels = {
        name: torch.stack([s.gt_sem_seg.data[0] for s in samples])
        for name, samples in data["data_samples"].items()
        if "gt_sem_seg" in samples[0]
    }
    for optimizer in optimizers:
        optimizer.zero_grad()
    for parameter in judge.parameters():
        parameter.requires_grad = False

    def logits_of(name):
        logits = net.decode_head(net.backbone(images[name]))
        size = images[name].shape[2:]
        return functional.interpolate(logits, size, mode="bilinear", align_corners=True)

    def bce(logits, label):
        scores = judge(functional.softmax(logits, 1))
        return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, label))

    source = logits_of("red")
    loss_source = functional.cross_entropy(source, labels["red"], ignore_index=255)
    loss_source.backward()
    target = logits_of("blue")
    loss_adv = lambda_adv * bce(target, 0.0)
    loss_target = loss_adv
    if "blue" in labels:
        loss_target = loss_adv + functional.cross_entropy(target, labels["blue"], ignore_index=255)
    loss_target.backward()
    for parameter in judge.parameters():
        parameter.requires_grad = True
    halves = []
    for logits, label in ((source, 0.0), (target, 1.0)):
        halves.append(bce(logits.detach(), label) / 2)
        halves[-1].backward()
    for optimizer in optimizers:
        optimizer.step()
    return [loss.item() for loss in (loss_source, loss_adv, *halves)]


@pytest.mark.parametrize("pseudo", [False, True])
def test_three_steps_equal_the_literal_ones(domains, tmp_path, pseudo):
    dataset = build_dataset(domains)
    if pseudo:
        labels = torch.randint(0, 3, (32, 64)).byte()
        labels[:8] = 255
        dataset = with_pseudo_labels(domains, tmp_path / "pseudo", labels.numpy())
    model = MODELS.build(bdl())
    twin = copy.deepcopy(model)
    optim = wrappers(model)
    plain = [
        torch.optim.SGD(twin.segmentor.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4),
        torch.optim.Adam(twin.discriminator.parameters(), lr=1e-3, betas=(0.9, 0.99)),
    ]
    for index in range(3):
        data = batch(dataset, index, index + 1)
        expected = literal_step(twin, data, plain)
        logs = model.train_step(data, optim)
        names = ("red.decode.loss_ce", "blue.loss_adv", "red.loss_discriminator")
        found = [logs[name].item() for name in (*names, "blue.loss_discriminator")]
        assert found == pytest.approx(expected, rel=1e-5)
        assert ("blue.decode.loss_ce" in logs) == pseudo
    for (name, ours), theirs in zip(
        model.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7, msg=name)


def test_loss_of_the_log_is_what_the_segmentor_learns_from(dataset):
    model = MODELS.build(bdl())
    logs = model.train_step(batch(dataset, 0), wrappers(model))
    total = logs["red.decode.loss_ce"] + logs["blue.loss_adv"]
    assert logs["loss"].item() == pytest.approx(total.item())


def gradients_after(dataset, **options):
    """Return the gradients of both parts after a step that updates nothing."""
    torch.manual_seed(0)
    model = MODELS.build(bdl(**options))
    passes = wrappers(model, accumulative_counts=2)
    model.train_step(batch(dataset, 0), passes)
    parts = (model.segmentor, model.discriminator)
    return [[p.grad.clone() for p in part.parameters()] for part in parts]


def test_neither_part_learns_from_the_losses_of_the_other(dataset):
    """The discriminator's gradients do not depend on lambda_adv, the segmentor's do."""
    weak, strong = (gradients_after(dataset, lambda_adv=weight) for weight in (0.0, 1.0))
    torch.testing.assert_close(weak[1], strong[1], rtol=0, atol=0)
    assert not any(torch.equal(*pair) for pair in zip(weak[0], strong[0], strict=True))


def test_accumulated_gradients_equal_those_of_a_larger_batch(dataset):
    model = MODELS.build(bdl())
    twin = copy.deepcopy(model)
    optim, twin_optim = wrappers(model), wrappers(twin, accumulative_counts=2)
    model.train_step(batch(dataset, 0, 1), optim)
    before = copy.deepcopy(twin.state_dict())
    twin.train_step(batch(dataset, 0), twin_optim)
    assert all(torch.equal(before[name], value) for name, value in twin.state_dict().items())
    twin.train_step(batch(dataset, 1), twin_optim)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_mixed_precision(dataset):
    model = MODELS.build(bdl())
    seen = []
    for conv in (model.segmentor.backbone[0], model.discriminator[0]):
        conv.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    logs = model.train_step(batch(dataset, 0, 1), wrappers(model, "mmext.CPUAmpOptimWrapper"))
    assert seen == [torch.bfloat16] * 4  # each domain once through either part
    assert all(value.isfinite() for value in logs.values())
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_batch_without_any_valid_pixel(domains, tmp_path):
    data = with_pseudo_labels(domains, tmp_path / "pseudo", np.full((32, 64), 255, np.uint8))
    loaded = batch(data, 0)
    loaded["data_samples"]["red"][0].gt_sem_seg.data.fill_(255)
    model = MODELS.build(bdl())
    logs = model.train_step(loaded, wrappers(model))
    assert logs["red.decode.loss_ce"] == 0
    assert logs["blue.decode.loss_ce"] == 0
    assert all(p.isfinite().all() for p in model.parameters())


def test_domains_of_different_sizes(domains):
    """GTA5's images are 1280x720 in the official code, those of Cityscapes 1024x512."""
    larger = dict(type="Resize", scale=(96, 40), keep_ratio=False)
    wide = domain(domains, "red", [LOAD, LABELS, larger, PACK])
    data = batch(build_dataset(domains, sources=dict(red=wide)), 0, 1)
    model = MODELS.build(bdl())
    twin = copy.deepcopy(model)
    optimizers = [torch.optim.SGD(twin.parameters(), lr=0.0)]
    logs = model.train_step(data, wrappers(model))
    expected = literal_step(twin, data, optimizers)
    assert logs["red.loss_discriminator"].item() == pytest.approx(expected[2], rel=1e-5)
    assert logs["blue.loss_discriminator"].item() == pytest.approx(expected[3], rel=1e-5)


def test_a_source_without_labels_is_named(domains):
    unlabelled = domain(domains, "red", [LOAD, PACK])
    data = batch(build_dataset(domains, sources=dict(red=unlabelled)), 0)
    model = MODELS.build(bdl())
    with pytest.raises(ValueError, match=r"red/images/0\.png of a source has no labels"):
        model.train_step(data, wrappers(model))


def test_source_only_and_self_training_need_no_discriminator(domains, dataset, tmp_path):
    alone = build_dataset(domains, targets={})
    pseudo = with_pseudo_labels(domains, tmp_path / "p", np.zeros((32, 64), np.uint8))
    for data, expected in ((alone, {"red"}), (pseudo, {"red", "blue"}), (dataset, {"red"})):
        model = MODELS.build(bdl(discriminator=None))
        logs = model.train_step(batch(data, 0), wrappers(model))
        assert {name.partition(".")[0] for name in logs} == {"loss", *expected}


def test_several_sources_and_targets_are_averaged(domains):
    red, blue = (domain(domains, name, [LOAD, LABELS, PACK]) for name in ("red", "blue"))
    target = domain(domains, "blue", [LOAD, PACK])
    twice = build_dataset(domains, sources=dict(a=red, b=red), targets=dict(c=target, d=target))
    model = MODELS.build(bdl())
    twin = copy.deepcopy(model)
    model.train_step(batch(twice, 0), wrappers(model))
    twin.train_step(batch(build_dataset(domains), 0), wrappers(twin))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name)
    loaded = batch(build_dataset(domains, sources=dict(x=blue)), 0)
    del loaded["inputs"]["x"], loaded["data_samples"]["x"]
    with pytest.raises(ValueError, match="expected one of them to be a source"):
        model.train_step(loaded, wrappers(model))


def test_labels_of_a_target_are_refused_by_the_preprocessor(dataset):
    data = batch(dataset, 0)
    data["data_samples"]["blue"] = copy.deepcopy(data["data_samples"]["red"])
    data["data_samples"]["blue"][0].set_metainfo(dict(role="target"))
    model = MODELS.build(bdl())
    with pytest.raises(ValueError, match="of the target 'blue' comes with labels"):
        model.train_step(data, wrappers(model))


def test_loss_mode_gives_every_parameter_a_gradient(dataset):
    model = MODELS.build(bdl())
    data = model.data_preprocessor(batch(dataset, 0), True)
    total, _ = model.parse_losses(model(**data, mode="loss"))
    total.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_predictions_are_the_segmentors_own(domains):
    model = MODELS.build(bdl()).eval()
    data = DATASETS.build(domain(domains, "blue", [LOAD, LABELS, PACK]))
    loaded = pseudo_collate([data[0]])
    with torch.no_grad():
        ours = model.test_step(copy.deepcopy(loaded))[0]
        theirs = model.segmentor.test_step(loaded)[0]
        tensors = [m(torch.zeros(1, 3, 32, 64)) for m in (model, model.segmentor)]
    torch.testing.assert_close(ours.seg_logits.data, theirs.seg_logits.data)
    torch.testing.assert_close(*tensors)


HEADS = {
    "ASPPHead": dict(type="ASPPHead", dilations=(1, 2)),
    "auxiliary": dict(type="FCNHead", num_convs=1, concat_input=False),
    "cascade": dict(type="FCNHead", num_convs=1, concat_input=False),
}


@pytest.mark.parametrize("kind", list(HEADS))
def test_other_segmentors_of_mmseg(dataset, kind):
    cfg = segmentor()
    base = {k: v for k, v in cfg["decode_head"].items() if k not in ("num_convs", "concat_input")}
    head = {**base, **HEADS[kind]}
    if kind == "cascade":
        ocr = {**base, "type": "OCRHead", "ocr_channels": 4, "norm_cfg": dict(type="BN")}
        cfg |= dict(type="CascadeEncoderDecoder", num_stages=2, decode_head=[head, ocr])
    else:
        cfg["decode_head"] = head
        if kind == "auxiliary":
            cfg["auxiliary_head"] = dict(head)
    model = MODELS.build(bdl(segmentor=cfg))
    logs = model.train_step(batch(dataset, 0, 1), wrappers(model))
    assert logs["blue.loss_adv"].isfinite()
    assert ("red.aux.loss_ce" in logs) == (kind == "auxiliary")
    inputs = torch.randn(2, 3, 32, 64)
    model.eval()
    samples = model.data_preprocessor(batch(dataset, 0, 1), True)["data_samples"]["red"]
    _, logits = supervised_losses(model.segmentor, inputs, samples)
    torch.testing.assert_close(logits, raw_logits(model.segmentor, inputs))


def test_heads_without_logits_are_refused(dataset):
    model = MODELS.build(bdl())
    model.segmentor.decode_head.forward = lambda features: dict(queries=1)
    with pytest.raises(TypeError, match="FCNHead computes no map of logits"):
        raw_logits(model.segmentor, torch.zeros(1, 3, 32, 64))


def test_wrong_configs_say_what_was_expected(dataset):
    with pytest.raises(TypeError, match=r"model\.segmentor builds a TinyDiscriminator"):
        MODELS.build(bdl(segmentor=dict(type="TinyDiscriminator")))
    model = MODELS.build(bdl())
    single = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(TypeError, match=r"MultiOptimWrapperConstructor.*discriminator=dict"):
        model.train_step(batch(dataset, 0), single)
    one = dict(constructor="mmext.MultiOptimWrapperConstructor")
    with pytest.raises(ValueError, match="no part"):
        build_optim_wrapper(model, one)
    with pytest.raises(ValueError, match="BDL has no part of that name"):
        build_optim_wrapper(model, {**one, "generator": copy.deepcopy(SEGMENTOR)})
    alone = MODELS.build(bdl(discriminator=None))
    with pytest.raises(ValueError, match=r"model\.discriminator is None"):
        build_optim_wrapper(alone, {**one, "discriminator": copy.deepcopy(DISCRIMINATOR)})


def test_preprocessors_of_the_host_serve_all_domains(dataset):
    plain = dict(type="SegDataPreProcessor", mean=[0.0] * 3, std=[1.0] * 3, size_divisor=4)
    own = dict(
        type="mmext.MultiDomainDataPreprocessor",
        default=plain,
        domains=dict(blue={**plain, "std": [2.0] * 3}),
    )
    data = batch(dataset, 0)
    images = {name: torch.stack(part).float() for name, part in data["inputs"].items()}
    for cfg, factor in ((plain, 1), (own, 2)):
        model = MODELS.build(bdl(data_preprocessor=copy.deepcopy(cfg)))
        assert isinstance(model, BDL)
        assert isinstance(model.data_preprocessor, MultiDomainDataPreprocessor)
        found = model.data_preprocessor(copy.deepcopy(data), True)["inputs"]
        torch.testing.assert_close(found["red"], images["red"])
        torch.testing.assert_close(found["blue"], images["blue"] / factor)
