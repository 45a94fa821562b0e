"""CycleGAN's training against its steps written out, and what surrounds it."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODEL_WRAPPERS
from mmengine.structures import BaseDataElement
from torch import distributed, multiprocessing, nn

from mmext.registry import MODELS

GENERATOR = dict(type="mmext.CycleGANGenerator", base_channels=4, num_blocks=1)
DISCRIMINATOR = dict(type="mmext.PatchDiscriminator", base_channels=4, num_layers=1)
SEGMENTOR = dict(
    type="mmseg.EncoderDecoder",
    data_preprocessor=dict(type="mmseg.SegDataPreProcessor", mean=[100] * 3, std=[1] * 3),
    backbone=dict(type="mmext.DeepLabV2ResNet", depth=50),
    decode_head=dict(type="mmext.DeepLabV2Head", num_classes=3),
    test_cfg=dict(mode="whole"),
)


def build(**options):
    settings = dict(
        type="mmext.ImageTranslator",
        generators=dict(a2b=dict(GENERATOR), b2a=dict(GENERATOR)),
        discriminators=dict(a=dict(DISCRIMINATOR), b=dict(DISCRIMINATOR)),
    )
    model = MODELS.build(settings | options)
    model.init_weights()
    return model.train()


def optimisers(model, **options):
    wrappers = {}
    for name in ("generators", "discriminators"):
        # Not Adam: a bias before an instance norm has no effect, and Adam enlarges the rounding
        # errors that are its gradient to whole steps.
        sgd = torch.optim.SGD(getattr(model, name).parameters(), 1e-3, momentum=0.9)
        wrappers[name] = OptimWrapper(sgd, **options)
    return OptimWrapperDict(**wrappers)


def batch(number=2, size=16):
    return dict(
        inputs={
            name: [torch.randint(256, (3, size, size), dtype=torch.uint8) for _ in range(number)]
            for name in ("source", "target")
        }
    )


def step_written_out(model, data, generator_optimiser, discriminator_optimiser, identity):
    """One iteration of the official code with images that the pools do not change."""
    rgb = [torch.stack(data["inputs"][n]).float().flip(1) for n in ("source", "target")]
    a, b = (x / 127.5 - 1 for x in rgb)
    g_a, g_b = model.generators.a2b, model.generators.b2a  # by the official names
    d_a, d_b = model.discriminators.b, model.discriminators.a
    fake_b, fake_a = g_a(a), g_b(b)
    rec_a, rec_b = g_b(fake_b), g_a(fake_a)
    losses = dict(
        loss_gan_b=(d_a(fake_b) - 1).square().mean(),
        loss_gan_a=(d_b(fake_a) - 1).square().mean(),
        loss_cycle_a=10 * (rec_a - a).abs().mean(),
        loss_cycle_b=10 * (rec_b - b).abs().mean(),
    )
    if identity:
        losses["loss_identity_b"] = 10 * identity * (g_a(b) - b).abs().mean()
        losses["loss_identity_a"] = 10 * identity * (g_b(a) - a).abs().mean()
    generator_optimiser.zero_grad()
    sum(losses.values()).backward()
    generator_optimiser.step()
    discriminator_optimiser.zero_grad()
    for domain, d, real, fake in (("b", d_a, b, fake_b), ("a", d_b, a, fake_a)):
        real_loss, fake_loss = (d(real) - 1).square().mean(), d(fake.detach()).square().mean()
        losses[f"loss_discriminator_{domain}"] = (real_loss + fake_loss) * 0.5
        losses[f"loss_discriminator_{domain}"].backward()
    discriminator_optimiser.step()
    return losses


@pytest.mark.parametrize("identity", [0.5, 0])
def test_step(identity):
    model = build(identity_weight=identity)
    twin = copy.deepcopy(model)
    wrappers, twins = optimisers(model), optimisers(twin)
    for _ in range(3):
        data = batch()
        logged = model.train_step(data, wrappers)
        expected = step_written_out(
            twin, data, *(wrapper.optimizer for wrapper in twins.values()), identity
        )
        assert logged.keys() == expected.keys() | {"loss"}
        for name, value in expected.items():
            torch.testing.assert_close(logged[name], value.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(logged["loss"], sum(expected.values()).detach())
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)
        assert ours.requires_grad


def test_discriminators_get_older_images():
    model = build(pool_size=2)
    wrappers = optimisers(model)
    for _ in range(2):
        model.train_step(batch(), wrappers)
    seen = []
    model.discriminators.a.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    stored = model.pools["a"].images.clone()
    torch.manual_seed(0)
    model.train_step(batch(4), wrappers)
    fakes = seen[-1]
    old = [(image == stored).flatten(1).all(1).any() for image in fakes]
    assert 0 < sum(old) < 4


def test_loss_mode_has_the_gradients_of_both_updates():
    model = build()
    data = model.data_preprocessor(batch(), training=True)
    losses = model(**data, mode="loss")
    sum(losses.values()).backward()
    generator_losses, made = model.generator_losses(data["inputs"])
    for network, loss in (
        (model.generators, sum(generator_losses.values())),
        (model.discriminators, sum(model.discriminator_losses(data["inputs"], made).values())),
    ):
        together = [p.grad for p in network.parameters()]
        apart = torch.autograd.grad(loss, list(network.parameters()))
        torch.testing.assert_close(together, list(apart))


def test_semantic_term():
    model = build(semantic=dict(type="mmext.SemanticTerm", segmentor=SEGMENTOR))
    model.semantic.segmentor.decode_head.init_weights()
    frozen = copy.deepcopy(model.semantic.state_dict())
    inputs = model.data_preprocessor(batch(1, 32), training=True)["inputs"]
    losses, made = model.generator_losses(inputs)
    term = model.semantic
    expected = dict(
        loss_semantic_a=term.losses(inputs["source"], made["fake_b"], made["back_a"]),
        loss_semantic_b=term.losses(inputs["target"], made["fake_a"], made["back_b"]),
    )
    for name, terms in expected.items():
        torch.testing.assert_close(losses[name], terms["loss_semantic"])
        cycle = losses[name.replace("semantic", "semantic_cycle")]
        torch.testing.assert_close(cycle, terms["loss_semantic_cycle"])
    model.train_step(batch(1, 32), optimisers(model))
    for name, tensor in model.semantic.state_dict().items():
        assert torch.equal(tensor, frozen[name]), name


def test_resumed_training_is_the_same():
    model = build(pool_size=3)
    wrappers = optimisers(model)
    for _ in range(3):
        model.train_step(batch(), wrappers)
    resumed = build(pool_size=3)
    resumed.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
    resumed_wrappers = optimisers(resumed)
    resumed_wrappers.load_state_dict(copy.deepcopy(wrappers.state_dict()))
    data = [batch() for _ in range(3)]
    for trained, optim in ((model, wrappers), (resumed, resumed_wrappers)):
        torch.manual_seed(3)
        for one in data:
            trained.train_step(copy.deepcopy(one), optim)
    for ours, theirs in zip(
        resumed.state_dict().values(), model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_accumulated_steps_equal_one_of_a_larger_batch():
    model = build(pool_size=0)
    twin = copy.deepcopy(model)
    data = batch(4)
    model.train_step(data, optimisers(model))
    wrappers = optimisers(twin, accumulative_counts=2)
    for half in (slice(2), slice(2, 4)):
        part = {name: images[half] for name, images in data["inputs"].items()}
        twin.train_step(dict(inputs=part), wrappers)
    for name, expected in model.generators.state_dict().items():
        ours = twin.generators.state_dict()[name]
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)


def test_directions():
    model = build(direction="b2a").eval()
    images = torch.rand(2, 3, 16, 20) * 2 - 1
    torch.testing.assert_close(model(images), model.generators.b2a(images))
    torch.testing.assert_close(model.translate(images, "a2b"), model.generators.a2b(images))
    read = [torch.randint(256, (3, 16, 20), dtype=torch.uint8) for _ in range(2)]
    samples = [BaseDataElement(metainfo=dict(img_path=f"{i}.png")) for i in range(2)]
    predicted = model.test_step(dict(inputs=read, data_samples=samples))
    rgb = torch.stack(read).flip(1) / 127.5 - 1
    expected = (model.generators.b2a(rgb) + 1) / 2
    for i, sample in enumerate(predicted):
        assert sample.img_path == f"{i}.png"
        torch.testing.assert_close(sample.pred_img, expected[i])
        assert not sample.pred_img.requires_grad
    assert len(model(images, mode="predict")) == 2


def test_base_config_takes_the_official_networks(build_base):
    with torch.device("meta"):
        model = build_base("cyclegan_resnet9")
        assert model(torch.empty(1, 3, 64, 96)).shape == (1, 3, 64, 96)
    assert sum(p.numel() for p in model.generators.a2b.parameters()) == 11378179


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(direction="ab"), "direction is 'ab', expected 'a2b' or 'b2a'"),
        (dict(generators=dict(a=GENERATOR)), r"generators has the keys \['a'\], expected a2b, b2a"),
        (dict(discriminators=dict(a=DISCRIMINATOR)), "discriminators has the keys"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_wrong_batches_and_optimisers():
    model = build()
    wrappers = optimisers(model)
    data = batch()
    data["inputs"]["gta"] = data["inputs"].pop("source")
    with pytest.raises(ValueError, match=r"inputs \['gta', 'target'\]. .* set model.domains"):
        model.train_step(data, wrappers)
    with pytest.raises(ValueError, match="optim_wrapper has the keys"):
        model.train_step(batch(), wrappers["generators"])
    with pytest.raises(ValueError, match="mode 'val': expected"):
        model(torch.zeros(1, 3, 16, 16), mode="val")


def learn_in_part(rank, world, folder, model, data):
    """What each process does: learn from every ``world``-th image of each batch."""
    torch.set_num_threads(1)  # what works after a fork
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    wrapped = MODEL_WRAPPERS.build(dict(model.model_wrapper_cfg, module=model))
    wrappers = optimisers(model)
    for one in data:
        own = {name: images[rank::world] for name, images in one["inputs"].items()}
        wrapped.train_step(dict(inputs=own), wrappers)
    torch.save([p.detach() for p in model.parameters()], f"{folder}/{rank}.pth")
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    model = build()
    data = [batch(2) for _ in range(2)]
    multiprocessing.start_processes(
        learn_in_part, (2, str(tmp_path), model, data), nprocs=2, start_method="fork"
    )
    wrappers = optimisers(model)
    for one in data:
        model.train_step(one, wrappers)
    for rank in range(2):
        for ours, theirs in zip(
            torch.load(tmp_path / f"{rank}.pth"), model.parameters(), strict=True
        ):
            torch.testing.assert_close(ours, theirs.detach(), rtol=1e-3, atol=1e-5)


def test_generators_and_discriminators_are_all_that_learns():
    model = build(semantic=dict(type="mmext.SemanticTerm", segmentor=SEGMENTOR))
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {
        "generators",
        "discriminators",
    }
    assert isinstance(model.pools, nn.ModuleDict)
