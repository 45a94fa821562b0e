"""The benchmark compares like with like, and the literal post-processing finds what ours finds."""

import pytest
import torch
from mmengine.config import ConfigDict

from mmext.detection.centernet.grouping import group_quarters

SIZE = (256, 320)


@pytest.fixture(scope="module")
def bench(load_tool):
    return load_tool("benchmarks/centernetpp_reppoints.py")


@pytest.fixture
def small(bench, monkeypatch):
    """The models of the benchmark with narrow heads."""
    from mmengine.registry import DefaultScope

    DefaultScope.get_instance("benchmark", scope_name="mmdet")
    configs = bench.model_configs("lite0")
    for config in configs.values():
        for width in ("feat_channels", "point_feat_channels", "in_channels"):
            config.bbox_head[width] = 32
        config.neck.out_channels = 32
        if "corner_dim" in config.bbox_head:
            config.bbox_head.corner_dim = 32
    monkeypatch.setattr(bench, "model_configs", lambda backbone: configs)
    return bench


def test_models_differ_in_their_heads_only(bench):
    for backbone in bench.BACKBONES:
        first, *others = bench.model_configs(backbone).values()
        for config in others:
            assert config.backbone == first.backbone
            assert config.neck == first.neck
            assert config.bbox_head.num_classes == first.bbox_head.num_classes
            for width in ("in_channels", "feat_channels", "point_feat_channels", "stacked_convs"):
                if width != "stacked_convs" or "Fast" not in config.bbox_head.type:
                    assert config.bbox_head[width] == first.bbox_head[width]


def test_backbones_and_necks_are_equal_and_swapped_layers_compute_the_same(small):
    models = small.build_models("lite0")
    images = torch.randn(1, 3, 160, 160)
    maps = {}
    with torch.no_grad():
        for name, model in models.items():
            for layer in model.modules():  # offsets of zero would hide a difference
                if hasattr(layer, "conv_offset"):
                    torch.manual_seed(1)
                    torch.nn.init.normal_(layer.conv_offset.weight, std=0.05)
            maps[name] = small.features(model.train(), images)
    for feats in maps.values():
        torch.testing.assert_close(feats, maps["RepPoints"], rtol=0, atol=0)
    for one, other in (("RepPoints", "RepPoints, our DCN"), ("full head", "full head, mmcv's DCN")):
        with torch.no_grad():
            outs, others = (models[name].bbox_head(maps[name]) for name in (one, other))
        torch.testing.assert_close(outs, others, rtol=1e-3, atol=1e-5)
        kinds = [{type(layer) for layer in models[name].modules()} for name in (one, other)]
        assert kinds[0] != kinds[1]


def test_every_stage_is_timed(small):
    models = small.build_models("lite0", ["RepPoints", "full head", "fast head"])
    objects = [small.random_instances(3, 160, 160)]
    images = torch.randn(1, 3, 160, 160)
    results = {}
    for name, model in models.items():
        stages = small.training_step(model, images, objects, threads=1)
        stages |= small.prediction(model, images, objects, threads=1)
        assert set(stages) == {*small.TRAIN_STAGES, *small.TEST_STAGES}
        assert min(stages.values()) > 0
        results[name] = stages
    table = small.models_table(results).splitlines()
    assert len(table) == 2 + len(models)
    assert len({line.count("|") for line in table}) == 1


@pytest.fixture(scope="module")
def heads(bench):
    """The two heads of CenterNet++, of which only the decoding counts here."""
    import mmdet.models  # noqa: F401
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    DefaultScope.get_instance("benchmark", scope_name="mmdet")
    heads = {}
    for name in ("full head", "fast head"):
        model = bench.model_configs("lite0")[name]
        narrow = dict(in_channels=32, feat_channels=32, point_feat_channels=32)
        heads[name] = MODELS.build(dict(model.bbox_head, **narrow, test_cfg=model.test_cfg))
    return heads


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["full head", "fast head"])
@pytest.mark.parametrize("nms_pre", [1000, 60])
def test_literal_and_ours_find_the_same(bench, heads, name, seed, nms_pre):
    """Levels with more and with fewer cells than are kept; images resized by odd factors."""
    head = heads[name]
    classes = head.num_classes
    torch.manual_seed(seed)
    boxes, labels = bench.random_objects(5 + 12 * seed, *SIZE, classes)
    shapes = bench.level_shapes(*SIZE, bench.STRIDES)
    outs = bench.crafted_outputs(boxes, labels % (1 + seed), shapes, bench.STRIDES, classes)
    outs = outs if name == "full head" else (*outs[:6], outs[8])
    height, width = SIZE
    meta = dict(img_shape=(height - 9, width - 5), pad_shape=SIZE, scale_factor=(1.37, 1.41))

    cfg = ConfigDict(head.test_cfg, nms_pre=nms_pre)
    found = head.predict_by_feat(*outs, batch_img_metas=[meta], cfg=cfg, rescale=True)[0]
    settings = bench.Settings(nms_pre=nms_pre, soft=name == "fast head")
    expected = bench.literal_detections(outs, 0, meta, bench.STRIDES, settings)

    assert len(found) > 0
    assert found.labels.tolist() == expected[2].tolist()
    for part, truth in zip((found.bboxes, found.scores), expected[:2], strict=True):
        torch.testing.assert_close(part, torch.from_numpy(truth), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_every_rule_of_grouping_decides_the_same(bench, seed):
    """Boxes around 3500 px^2 whose centres are near the borders of their central regions."""
    torch.manual_seed(seed)
    count = 120
    half = 22 + 16 * torch.rand(count, 2)
    jitter = torch.randn(2, count, 2) * half / 6
    middle = 200 + 4 * torch.randn(count, 2)
    scores, labels = torch.rand(2, count), torch.randint(2, (2, count))
    top_left = (torch.cat((middle - half, middle + jitter[0]), 1), scores[0], labels[0])
    bottom_right = (torch.cat((middle + jitter[1], middle + half), 1), scores[1], labels[1])

    found = group_quarters(*top_left, *bottom_right)
    sides = [[part.numpy() for part in side] for side in (top_left, bottom_right)]
    expected = bench.pair_up(*sides, bench.Settings())

    assert len(found[0]) > 100
    for part, truth in zip(found, expected, strict=True):
        assert torch.equal(part, torch.from_numpy(truth))


def test_nothing_above_the_threshold(bench, heads):
    shapes = bench.level_shapes(*SIZE, bench.STRIDES)
    outs = bench.crafted_outputs(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), shapes, bench.STRIDES, 80
    )
    low = [[level - 50 for level in maps] for maps in outs[:2]]
    meta = dict(img_shape=SIZE, pad_shape=SIZE, scale_factor=(1.0, 1.0))
    found = heads["full head"].predict_by_feat(*low, *outs[2:], [meta], rescale=True)[0]
    expected = bench.literal_detections((*low, *outs[2:]), 0, meta, bench.STRIDES)
    assert len(found) == len(expected[0]) == 0
