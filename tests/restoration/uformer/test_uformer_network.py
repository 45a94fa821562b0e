"""The network as a whole: sizes, options, what it is told wrongly, how it can be run."""

from types import SimpleNamespace

import pytest
import torch
from official_uformer import OFFICIAL, golden_image, golden_uformer
from torch import nn
from torch.nn import functional

from mmext.registry import MODELS
from mmext.restoration.uformer import Uformer, attention, feed_forward, uformer, windows

TINY = dict(embed_dim=4, depths=(2, 1, 1, 1, 2, 1, 1, 1, 2))
SKIPS = {
    "concat": dict(),
    "cross": dict(skip="cross", modulator=False),
    "concat_cross": dict(skip="concat_cross", modulator=False),
}


def tiny(**options):
    torch.manual_seed(0)
    model = Uformer(**(TINY | options))
    # Larger than at the start of a training, so that everything shows in the output.
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model


@pytest.mark.parametrize(("arch", "count"), [("T", 5291853), ("S", 20751197), ("B", 50880946)])
def test_parameters_of_the_presets(arch, count):
    with torch.device("meta"):
        model = MODELS.build(dict(type="mmext.Uformer", arch=arch))
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("network", sorted(OFFICIAL))
def test_parameters_of_the_official_networks(network):
    count = sum(p.numel() for p in golden_uformer(network).parameters())
    dead = sum(
        torch.Size(shape).numel()
        for name, shape in OFFICIAL[network]["params"]
        if "norm_cross" in name
    )
    assert count == OFFICIAL[network]["n_params"] - dead


@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 128), (65, 130)])
def test_any_size(size, skip):
    model = tiny(**SKIPS[skip]).double().eval()
    image = torch.rand(2, 3, *size, dtype=torch.double)
    with torch.no_grad():
        out = model(image)
        assert out.shape == image.shape
        assert out.isfinite().all()
        torch.testing.assert_close(model(image[1:]), out[1:])


def test_large_odd_size_in_pieces_and_whole(monkeypatch):
    model, image = tiny().double().eval(), torch.rand(1, 3, 333, 500, dtype=torch.double)
    called = []
    add_in_pieces = feed_forward.add_in_pieces
    monkeypatch.setattr(
        feed_forward, "add_in_pieces", lambda *a: called.append(a) or add_in_pieces(*a)
    )
    with torch.no_grad():
        out = model(image)
        assert called
        for module in (feed_forward, attention):
            monkeypatch.setattr(module, "pays", lambda *_: False)
        torch.testing.assert_close(model(image), out)


@pytest.mark.parametrize("skip", SKIPS)
def test_what_lies_outside_the_image_does_not_matter(skip, monkeypatch):
    model = tiny(**SKIPS[skip], bottleneck_shift=True).double()
    model.eval()
    image = torch.rand(1, 3, 75, 141, dtype=torch.double, requires_grad=True)
    results = []
    for value in (0.0, 1e3):

        def pad(maps, sides, value=value):
            return functional.pad(maps, sides, value=value)

        # Of windows alone: convolutions see zeros beyond the border.
        monkeypatch.setattr(windows, "functional", SimpleNamespace(pad=pad))
        out = model(image)
        results.append((out, *torch.autograd.grad(out.square().mean(), (image, model.head.weight))))
    for one, other in zip(*results, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_all_parameters_learn():
    for options in (*SKIPS.values(), dict(cross_modulator=True), dict(token_projection="conv")):
        model = tiny(**options)
        model(torch.rand(2, 3, 24, 40)).square().mean().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []
        assert all(p.grad.isfinite().all() for p in model.parameters())


def test_bottleneck_shift_is_told_and_matters():
    image = golden_image()
    plain = golden_uformer("uformer_t")
    shifted = Uformer(arch="T", bottleneck_shift=True).eval()
    shifted.load_state_dict(plain.state_dict(), strict=True)
    assert [block.shift for block in plain.bottleneck] == [0, 0]
    assert [block.shift for block in shifted.bottleneck] == [0, 4]
    with torch.no_grad():
        assert (plain(image) - shifted(image)).abs().max() > 0.01


def test_misaligned_concat_cross_matters_and_asks_for_whole_windows():
    image = torch.rand(1, 3, 128, 128)
    options = SKIPS["concat_cross"]
    plain, misaligned = (tiny(**options, misaligned_concat_cross=m).eval() for m in (False, True))
    with torch.no_grad():
        assert (plain(image) - misaligned(image)).abs().max() > 1e-3
        with pytest.raises(ValueError, match=r"multiples of 128, got 128 x 120"):
            misaligned(image[..., :120])


def test_residual():
    image = torch.rand(1, 6, 16, 16)
    with torch.no_grad():
        model = tiny(dd_in=6)
        model.head.weight.zero_(), model.head.bias.zero_()
        assert not model(image).any()
        model = tiny()
        model.head.weight.zero_(), model.head.bias.zero_()
        assert torch.equal(model(image[:, :3]), image[:, :3])
        assert not tiny(residual=False)(torch.zeros(1, 3, 16, 16)).equal(torch.zeros(1, 3, 16, 16))


def test_initialisation():
    torch.manual_seed(0)
    model = Uformer(arch="T", modulator_std=0.5)
    attention = model.decoder[0][0].attn
    assert attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert attention.bias.table.std().item() == pytest.approx(0.02, rel=0.1)
    assert attention.modulator.std().item() == pytest.approx(0.5, rel=0.05)
    for bias in (attention.qkv.bias, attention.proj.bias, model.bottleneck[0].ffn.fc1.bias):
        assert not bias.any()
    before = attention.qkv.weight.clone()
    model.init_weights()
    assert not torch.equal(attention.qkv.weight, before)
    # torch's default for convolutions: uniform within 1 / sqrt(fan in).
    assert model.downs[3].weight.abs().max().item() == pytest.approx((128 * 16) ** -0.5, rel=0.01)


def test_drop_path_of_uneven_depths():
    model = Uformer(embed_dim=4, depths=(1, 1, 1, 1, 1, 2, 1, 1, 1))
    rates = [
        [getattr(block.drop_path, "drop_prob", 0.0) for block in stage]
        for stage in (*model.encoder, model.bottleneck, *model.decoder)
    ]
    expected = [[0], [1 / 30], [2 / 30], [0.1], [0.1], [0.1, 0.075], [0.05], [0.025], [0]]
    for ours, theirs in zip(rates, expected, strict=True):
        assert ours == pytest.approx(theirs)


def gradients(model, image):
    model.train()
    torch.manual_seed(1)  # drop path
    loss = model(image).square().mean()
    return torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.parametrize("skip", SKIPS)
def test_activation_checkpointing(skip, monkeypatch):
    model, image = tiny(**SKIPS[skip], drop_path_rate=0.5), torch.rand(2, 3, 24, 40)
    plain = gradients(model, image)
    calls, checkpoint = [], uformer.checkpoint
    monkeypatch.setattr(
        uformer, "checkpoint", lambda *a, **k: calls.append(a) or checkpoint(*a, **k)
    )
    model.with_cp = True
    for one, other in zip(plain, gradients(model, image), strict=True):
        torch.testing.assert_close(one, other)
    assert len(calls) == sum(TINY["depths"])


@pytest.fixture
def _forget_compiled_code():
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("_forget_compiled_code")
@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("aot_eager", dict()),
        ("aot_eager", dict(with_cp=True)),
        # The graph alone: the backward pass is made of the same operations.
        ("eager", SKIPS["cross"]),
        ("eager", SKIPS["concat_cross"]),
    ],
    ids=["concat", "with_cp", "cross", "concat_cross"],
)
def test_compiles_as_one_graph(backend, options):
    model = tiny(depths=(2, *[1] * 8), drop_path_rate=0.5, **options).double()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    image = torch.rand(2, 3, 24, 40, dtype=torch.double)
    for one, other in zip(gradients(compiled, image), gradients(model, image), strict=True):
        torch.testing.assert_close(one, other)
    if not options:
        # Another size, which torch would take as the sign that all sizes are to be expected.
        with torch.no_grad():
            image = torch.rand(1, 3, 17, 33, dtype=torch.double)
            torch.testing.assert_close(compiled.eval()(image), model.eval()(image))


def test_bfloat16_autocast():
    model, image = golden_uformer("uformer_t", "small"), golden_image()[..., :64]
    with torch.no_grad():
        expected = model(image)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(image)
    assert (out - expected).abs().max() < 0.02
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(image).square().mean()
    loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in model.parameters())


WRONG = {
    "arch must be one of None, 'T', 'S', 'B', got 'L'": dict(arch="L"),
    "arch='T' gives embed_dim": dict(arch="T", embed_dim=8),
    "set arch to one of T, S, B, or both": dict(embed_dim=8),
    "depths needs 9 numbers .* got 3": dict(embed_dim=8, depths=(1, 2, 3)),
    r"depths\[2\] must be a positive integer, got 0": TINY
    | dict(depths=(1, 1, 0, 1, 1, 1, 1, 1, 1)),
    "num_heads needs 9 numbers": dict(arch="T", num_heads=(1, 2)),
    r"num_heads\[0\] must divide the 16 channels": dict(arch="T", num_heads=(3,) * 9),
    "embed_dim must be a positive integer, got -8": TINY | dict(embed_dim=-8),
    "dd_in must be a positive integer, got 0": dict(arch="T", dd_in=0),
    "window_size must be a positive integer": dict(arch="T", window_size=8.0),
    "window_size must be at least 2": dict(arch="T", window_size=1),
    "mlp_ratio must be a positive integer": dict(arch="T", mlp_ratio=0),
    "token_mlp must be one of 'leff', 'ffn', got 'mlp'": dict(arch="T", token_mlp="mlp"),
    "token_projection must be one of": dict(arch="T", token_projection="qkv"),
    "skip must be one of": dict(arch="T", skip="add"),
    r"drop_path_rate must be in \[0, 1\)": dict(arch="T", drop_path_rate=1),
    "modulator=True needs skip='concat'": dict(arch="T", skip="cross"),
    "cross_modulator=True needs skip": dict(
        arch="T", skip="cross", modulator=False, cross_modulator=True
    ),
    "skip='cross' needs token_projection": dict(
        arch="T", skip="cross", modulator=False, token_projection="conv"
    ),
    "misaligned_concat_cross=True needs": dict(arch="T", misaligned_concat_cross=True),
    "bottleneck_shift=True needs shift=True": dict(arch="T", bottleneck_shift=True, shift=False),
    "residual=True needs dd_in=3": dict(arch="T", residual=True, dd_in=6),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_options_are_named(message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        Uformer(**WRONG[message])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(1, 4, 16, 16), r"\(B, 3, H, W\) because dd_in=3, got \(1, 4, 16, 16\)"),
        (torch.rand(3, 16, 16), "because dd_in=3"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "floating point .* divide 8-bit"),
        (torch.rand(1, 3, 0, 16), "must not be empty"),
    ],
)
def test_wrong_images_are_named(image, message):
    with pytest.raises(ValueError, match=message):
        tiny()(image)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    "options", [*SKIPS.values(), dict(cross_modulator=True), dict(token_projection="conv")]
)
def test_cuda_equals_cpu(options):
    # Large enough that the CPU runs in pieces.
    model = tiny(**options, drop_path_rate=0).double()
    image = torch.rand(1, 3, 333, 500, dtype=torch.double)
    expected = model(image), *gradients(model, image)
    model.cuda()
    actual = model(image.cuda()), *gradients(model, image.cuda())
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cuda_autocast(dtype):
    model, image = golden_uformer("uformer_t", "small").cuda(), golden_image()[..., :72].cuda()
    with torch.no_grad():
        expected = model(image)
    with torch.autocast("cuda", dtype):
        out = model(image)
        loss = out.float().square().mean()
    assert (out - expected).abs().max() < 0.02
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
