"""HyperDet3D, our reconstruction: starts as Group-Free-3D, and its weights follow the scene."""

import pytest
import torch
from tiny_rooms import tiny_detector, tiny_scenes

from mmext.detection3d import HyperDet3D
from mmext.detection3d.hyperdet3d.generator import WeightGenerator
from mmext.detection3d.hyperdet3d.hypernetwork import FUSIONS, SceneHypernetwork
from mmext.detection3d.hyperdet3d.scene import SceneAttention, SceneEncoder, SceneNorm

SMALL = dict(scene_channels=8, embed_channels=6, hidden_channels=5, num_specific=4, key_channels=4)
WHOLE = dict(block_diagonal=False)
VARIANTS = {
    **{f"{fusion}": dict(fusion=fusion) for fusion in FUSIONS},
    "one head": dict(num_heads=1),
    "slabs": WHOLE,
    "seeds": dict(scene_source="seeds"),
    "bounded": dict(bounded=True),
    "several": dict(num_agnostic=3),
    **{
        f"{place} {fusion}": dict(position=place, fusion=fusion, **WHOLE)
        for place in ("ffn_in", "pred_in")
        for fusion in FUSIONS
    },
}


def detector(form="scannet", variant=None, **options):
    hyper = {**SMALL, "num_heads": 2, **(variant or {})}
    return tiny_detector(form, HyperDet3D, hyper=hyper, **options)


def stir(model):
    """Leave the starting point, at which much is zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("decoder_hyper.", "decoder_branches.")):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def tensors(out):
    return [x for stage in out.stages for x in stage if x is not None]


@pytest.mark.parametrize("name", VARIANTS)
def test_starts_as_group_free_3d(name):
    base = tiny_detector().double().eval()
    model = detector(variant=VARIANTS[name]).double().eval()
    missing, unexpected = model.load_state_dict(base.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith(("decoder_hyper.", "decoder_branches.")) for key in missing)
    points = tiny_scenes()[0].double()
    for ours, theirs in zip(tensors(model(points)), tensors(base(points)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    changed = tensors(stir(model)(points))
    assert not torch.allclose(changed[-1], tensors(base(points))[-1], atol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_everything_learns(name):
    points, samples = tiny_scenes()
    model = stir(detector(variant=VARIANTS[name]))
    total, _ = model.parse_losses(model(points, samples, mode="loss"))
    total.backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    # Softmax does not see what all of its terms share, nor a batch norm the bias before it.
    assert not [n for n in still if n.startswith(("decoder_hyper.", "decoder_branches."))]


def test_banks_learn_from_the_second_step_at_the_latest():
    points, samples = tiny_scenes()
    model = detector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        model.parse_losses(model(points, samples, mode="loss"))[0].backward()
        optimizer.step()
    for bank in (model.decoder_hyper.agnostic_bank, model.decoder_hyper.attention.bank):
        assert bank.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["mul", "slabs", "seeds", "ffn_in mul", "pred_in mul"])
def test_scenes_of_a_batch_are_their_own(name):
    points = tiny_scenes()[0].double()
    model = stir(detector(variant=VARIANTS[name])).double().eval()
    both = tensors(model(points))
    for i in range(2):
        for ours, alone in zip(both, tensors(model(points[i : i + 1])), strict=True):
            torch.testing.assert_close(ours[i : i + 1], alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("in_channels", [3, 7])
def test_scene_is_the_same_in_any_order(in_channels):
    encoder = SceneEncoder(8, in_channels).double().eval()
    points = torch.rand(2, 50, in_channels, dtype=torch.float64)
    shuffled = points[:, torch.randperm(50)]
    torch.testing.assert_close(encoder(points), encoder(shuffled), rtol=0, atol=1e-12)
    assert not torch.allclose(encoder(points)[0], encoder(points)[1])


def test_scene_does_not_depend_on_the_origin():
    encoder, points = SceneEncoder(8).double().eval(), torch.rand(1, 50, 3, dtype=torch.float64)
    moved = points + torch.tensor([3.0, -2.0, 5.0])
    torch.testing.assert_close(encoder(points), encoder(moved), rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 4])
def test_scenes_are_centred_and_scaled(batch):
    norm = SceneNorm(3).double()
    scenes = torch.randn(400, 3, dtype=torch.float64) * torch.tensor([0.02, 1.0, 5.0]) + 7
    for part in scenes.split(batch):
        norm(part)
    out = norm.eval()(scenes)
    assert (out.mean(0).abs() < 1).all()
    assert ((out.std(0) > 0.5) & (out.std(0) < 2)).all()
    torch.testing.assert_close(norm(scenes[:1]), out[:1])
    assert norm.batches == 400 // batch


def test_first_batches_count_alike():
    norm, scenes = SceneNorm(2, momentum=0.1).double(), torch.randn(5, 1, 2).double()
    for scene in scenes:
        norm(scene)
    torch.testing.assert_close(norm.mean, scenes.mean((0, 1)))


def test_untrained_scenes_ask_for_different_things():
    """What all rooms have in common does not decide: with it, attention is the same for all."""
    encoder = SceneEncoder(64)
    attention = SceneAttention(64, 32, 16, num_heads=4, key_channels=16, temperature=1.0)
    size = torch.tensor([4.0, 4.0, 2.5]) * (1 + torch.rand(64, 1, 3))
    rooms = torch.rand(64, 200, 3) * size
    for batch in rooms.split(8):
        encoder(batch)
    weights = attention(encoder.eval()(rooms))[1]
    assert weights.std(0).mean() > 0.5 / 16
    assert 0.7 < (torch.special.entr(weights).sum(-1) / torch.tensor(16).log()).mean() < 0.95


def test_attention_by_hand():
    attention = SceneAttention(2, 2, 3, num_heads=1, key_channels=2, temperature=0.5)
    eye = torch.eye(2)
    with torch.no_grad():
        for layer in (attention.query, attention.key, attention.value):
            layer.weight.copy_(eye)
        attention.bank.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    asked, weights = attention(torch.tensor([[2.0, 0.0]]))
    expected = (torch.tensor([2.0, 0.0, 2.0]) / 2**0.5 / 0.5).softmax(0)
    torch.testing.assert_close(weights[0, 0], expected)
    torch.testing.assert_close(asked[0, 0], expected @ attention.bank)


@pytest.mark.parametrize("bounded", [False, True])
def test_generator_by_loops(bounded):
    options = dict(embed_channels=4, hidden_channels=3, start="one", bounded=bounded)
    generator = WeightGenerator(5, 2, **options).double()
    torch.nn.init.normal_(generator.weight)
    embedding = torch.randn(4, dtype=torch.float64)
    weight = generator(embedding)
    for column in range(5):
        own = generator.hidden_weight[column] @ embedding + generator.hidden_bias[column]
        expected = generator.weight @ own + generator.bias
        expected = 1 + expected.tanh() if bounded else expected
        torch.testing.assert_close(weight[:, column], expected)


@pytest.mark.parametrize("channels", [16, 288])
def test_agnostic_weights_start_as_those_of_a_linear_layer(channels):
    hyper = SceneHypernetwork(channels, 2, num_heads=1)
    weight = hyper(torch.rand(1, 9, 3), torch.rand(1, channels, 9)).weight
    expected = (2 / (2 * channels)) ** 0.5  # Xavier
    assert weight.std().item() == pytest.approx(expected, rel=0.3)


def test_parameters_of_the_generator():
    """As stated: 1.22 million for one head and 288 channels, for all layers together."""
    generator = WeightGenerator(288, 288, embed_channels=64, hidden_channels=64, start="linear")
    count = sum(p.numel() for p in generator.parameters())
    assert count == 288 * 64 * 65 + 65 * 288


@pytest.mark.parametrize("block_diagonal", [True, False])
def test_fusion_and_heads_by_loops(block_diagonal):
    options = dict(num_heads=2, block_diagonal=block_diagonal)
    hyper = SceneHypernetwork(6, 3, **options, **SMALL).double()
    for parameter in hyper.parameters():
        torch.nn.init.normal_(parameter)
    centres, features = torch.rand(2, 9, 3).double(), torch.rand(2, 6, 9).double()
    weights, x = hyper(centres, features), torch.randn(2, 5, 6, dtype=torch.float64)
    out = hyper.apply_layer(weights, 1, x)
    asked, _ = hyper.attention(hyper.encoder(centres))
    for scene in range(2):
        for head in range(2):
            place = hyper.place[1, head]
            agnostic = hyper.agnostic(hyper.agnostic_bank[1].mean(0) + place)
            matrix = agnostic * hyper.specific(asked[scene, head] + place)
            rows = slice(3 * head, 3 * head + 3)
            part = x[scene][:, rows] if block_diagonal else x[scene]
            bias = hyper.bias[1, head] + hyper.to_bias(asked[scene, head])
            torch.testing.assert_close(out[scene][:, rows], part @ matrix.T + bias)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion_with_weights_that_are_there(fusion):
    options = dict(position="ffn_in", num_heads=2, block_diagonal=False, fusion=fusion)
    hyper = SceneHypernetwork(6, 3, **options, **SMALL).double()
    for parameter in hyper.parameters():
        torch.nn.init.normal_(parameter)
    base = torch.randn(3, 6, 6, dtype=torch.float64)
    centres, features = torch.rand(2, 9, 3).double(), torch.rand(2, 6, 9).double()
    weights = hyper(centres, features, base).weight[-1, 2].flatten(0, 1)  # agnostic: of one
    parts = [base[2]]
    if fusion != "specific":
        parts.append(hyper.agnostic(hyper.agnostic_bank[2].mean(0) + hyper.place[2]).flatten(0, 1))
    if fusion != "agnostic":
        asked, _ = hyper.attention(hyper.encoder(centres))
        parts.append(hyper.specific(asked[1] + hyper.place[2]).flatten(0, 1))
    expected = (parts[0] + parts[1]) * parts[2] if fusion == "mul" else sum(parts)
    torch.testing.assert_close(weights, expected)


def test_weights_follow_the_scene():
    points, _ = tiny_scenes()
    model = stir(detector())
    report = model.eval().diagnose(points)
    assert report["specific_spread"] > 1e-4
    assert 0 < report["attention_entropy"] <= 1
    same = model.diagnose(points[:1].expand(2, -1, -1))
    assert same["specific_spread"] < 1e-6
    with pytest.raises(ValueError, match="fusion is 'agnostic'"):
        detector(variant=dict(fusion="agnostic")).diagnose(points)


def test_frozen_scene():
    points, samples = tiny_scenes()
    model = stir(detector()).eval()
    free = tensors(model(points))
    with model.freeze_scene(points[:1]) as weights:
        frozen = tensors(model(points))
        with pytest.raises(RuntimeError, match="freeze_scene"):
            model(points, samples, mode="loss")
    torch.testing.assert_close(frozen[-1][0], free[-1][0])
    assert not torch.allclose(frozen[-1][1], free[-1][1])
    assert len(weights.weight) == 1
    torch.testing.assert_close(tensors(model(points))[-1], free[-1])


def test_weights_are_made_in_single_precision_under_autocast():
    points, samples = tiny_scenes()
    model = stir(detector())
    plain = model.prepare(points, seeds := model.backbone(points))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.prepare(points, seeds)
        total, _ = model.parse_losses(model(points, samples, mode="loss"))
    assert half.weight.dtype == torch.float32
    torch.testing.assert_close(half.weight, plain.weight, rtol=0, atol=0)
    assert total.isfinite()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(fusion="times"), "fusion"),
        (dict(position="in_front"), "position"),
        (dict(scene_source="images"), "scene_source"),
        (dict(num_heads=3), "divisor of 16"),
        (dict(position="ffn_in", num_heads=2), "block_diagonal=False"),
        (dict(bounded=True, fusion="add"), "fusion='mul'"),
    ],
)
def test_options_that_cannot_be(options, match):
    with pytest.raises(ValueError, match=match):
        SceneHypernetwork(16, 2, **{**SMALL, **options})


def test_names_are_of_the_decoders_group():
    """So that ``custom_keys=dict(decoder=...)`` of the recipe finds all of it."""
    base = {name for name, _ in tiny_detector().named_parameters()}
    own = {name for name, _ in detector().named_parameters()} - base
    assert own
    assert all("decoder" in name for name in own)
