"""The benchmark of CPN: the literal port and ours find the same, and as CPNHead does."""

import pytest
import torch

SHAPE = (40, 56)


@pytest.fixture(scope="module")
def bench(load_tool):
    return load_tool("benchmarks/cpn.py")


@pytest.fixture
def head(bench):
    """The head of CPN's DLA-34, narrow."""
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    DefaultScope.get_instance("benchmark", scope_name="mmdet")
    model = bench.cpn_config("dla34")
    narrow = dict(in_channels=16, feat_channels=16, pool_channels=8, grouping_channels=8)
    config = dict(model.bbox_head, **narrow, train_cfg=None, test_cfg=model.test_cfg)
    head = MODELS.build(config)
    head.init_weights()
    return head.eval()


def views(bench, head, count):
    objects = bench.random_objects(count, SHAPE)
    pair = objects, bench.mirrored(objects, SHAPE[1])
    with torch.no_grad():
        return bench.crafted_maps(head, pair, SHAPE)


@pytest.mark.parametrize("seed", range(5))
def test_literal_and_ours_find_the_same(bench, head, seed):
    torch.manual_seed(seed)
    maps, metas = views(bench, head, 6 + 6 * seed), bench.image_metas(SHAPE)
    with torch.no_grad():
        found, times = bench.staged(head, maps, metas)
        expected, literal_times = bench.literal(head, maps, metas[0])
        images = head.decode(maps, metas, head.test_cfg, rescale=True)
        own = head.detect(images, [False, True], head.test_cfg)
    assert len(times) == len(literal_times) == len(bench.STAGES)
    assert len(found) > 20
    alone = head.detect(images, [False, True], dict(head.test_cfg, flip_consistency=None))
    assert found.scores.sum() > alone.scores.sum()  # partners in the mirrored view were found
    for key in ("bboxes", "scores", "labels"):
        assert torch.equal(found[key], own[key])
    assert found.labels.tolist() == expected[2].tolist()
    boxes, scores = (torch.from_numpy(part) for part in expected[:2])
    torch.testing.assert_close(found.scores, scores, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.bboxes, boxes, rtol=1e-4, atol=1e-3)


def test_views_where_nothing_passes(bench, head):
    maps, metas = views(bench, head, 8), bench.image_metas(SHAPE)
    with torch.no_grad():
        head.groupings[-1].out.bias.fill_(-50)
        head.regions[-1].out.bias.add_(4)
        found, _ = bench.staged(head, maps, metas)
        expected, _ = bench.literal(head, maps, metas[0])
    assert len(found) == len(expected[0])
    torch.testing.assert_close(found.scores, torch.from_numpy(expected[1]), rtol=1e-4, atol=1e-6)


def test_models_share_backbone_and_neck(bench):
    for backbone in bench.BACKBONES:
        ours = bench.cpn_config(backbone)
        for name in bench.PEERS:
            model = bench.peer_config(name, backbone)
            assert model.backbone == ours.backbone
            assert model.neck == ours.get("neck")
            assert model.bbox_head.in_channels == ours.bbox_head.in_channels


def test_crafted_maps_of_the_peers_are_found(bench):
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    DefaultScope.get_instance("benchmark", scope_name="mmdet")
    objects = bench.random_objects(8, SHAPE)
    meta = bench.image_metas(SHAPE)[0]
    for name in bench.PEERS:
        model = bench.peer_config(name, "dla34")
        head = MODELS.build(dict(model.bbox_head, test_cfg=model.test_cfg))
        outputs = bench.peer_maps(name, objects, SHAPE)
        (found,) = head.predict_by_feat(*outputs, batch_img_metas=[meta], rescale=True)
        assert len(found) >= 8
        boxes = found.bboxes * 1.25 / 4 + 1  # back to cells
        near = (boxes[:, None] - objects.boxes).abs().amax(-1) < 0.1
        assert near.any(0).float().mean() > 0.7, name


def test_tables(bench):
    stages = {"ours": [1.0] * 5, "literal": [20.0] * 5}
    lines = bench.stages_table(stages).splitlines()
    assert lines[-1] == "| all | 5.0 | 100.0 | 20.0 |"
    assert len(lines) == 2 + len(bench.STAGES) + 1
    assert bench.models_table({"CPN": [3.0, 1.0]}).splitlines()[-1] == "| CPN | 3.0 | 1.0 | 4.0 |"
    assert bench.median_stages([[100.0], [1.0], [2.0], [9.0]]) == [2.0]
