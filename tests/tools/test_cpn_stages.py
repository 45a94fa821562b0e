"""CPN after each of its stages: counts by hand, detections as the model's own, a whole run."""

import pytest
import tiny_detection
import torch
from mmengine.config import Config

CPN = dict(
    type="mmext.CPN",
    data_preprocessor=dict(type="DetDataPreprocessor", mean=[127.0] * 3, std=[64.0] * 3),
    backbone=dict(
        type="ResNet",
        depth=18,
        base_channels=8,
        stem_channels=8,
        num_stages=1,
        strides=(1,),
        dilations=(1,),
        out_indices=(0,),
    ),
    bbox_head=dict(
        type="mmext.CPNHead",
        num_classes=2,
        in_channels=8,
        feat_channels=8,
        pool_channels=8,
        grouping_channels=4,
    ),
    test_cfg=dict(
        num_peaks=12,
        kernel=3,
        grouping_thr=0.2,
        num_pairs=20,
        flip_consistency=None,
        nms=dict(merge_exponent=10.0),
        max_per_img=10,
    ),
)
META = dict(batch_input_shape=(64, 80), img_shape=(64, 80), scale_factor=(1.0, 1.0))


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("analysis_tools/cpn_stages.py")


@pytest.fixture
def head():
    """A head whose classifiers let some pairs through."""
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    DefaultScope.get_instance("stages", scope_name="mmdet")
    head = MODELS.build(dict(CPN["bbox_head"], test_cfg=CPN["test_cfg"])).eval()
    for branch in (head.groupings[0], head.regions[0]):
        branch.out.weight.data *= 5
        branch.out.bias.data.fill_(-1.4)
    return head


def test_counts_by_hand(tool):
    count = tool.Count()
    objects = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]])
    count.add(torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 4], [20, 20, 30, 30]]), objects)
    count.add(torch.zeros(0, 4), objects[:1])
    count.add(objects[:1], torch.zeros(0, 4))
    assert count == tool.Count(images=3, proposals=4, false=2, objects=4, covered=2)


def test_stages_are_those_of_the_model(tool, head):
    maps = [torch.randn(2, channels, 16, 20) for channels in (2, 2, 2, 2, 4, 8)]
    with torch.no_grad():
        pairs, binary, whole = tool.run_stages(head, maps)
        kept, scores = head.classify(pairs.proposals, *maps[4:], 0.2)
        found = tool.in_pixels(whole.proposals, whole.scores, maps, [META] * 2, 20)
        expected = head.decode(maps, [META] * 2, head.test_cfg, rescale=True)
    assert 0 < len(whole.counted.scores) < len(binary.counted.scores) < len(pairs.counted.scores)
    assert torch.equal(binary.proposals.boxes, kept.boxes)
    assert torch.equal(binary.scores, kept.scores)
    assert torch.equal(whole.scores, scores)
    for ours, own in zip(found, expected, strict=True):
        assert torch.equal(ours.boxes, own.boxes)
        assert torch.equal(ours.scores, own.scores)


def test_rows(tool):
    figures = {"near/bbox_mAP": 0.1, "near/bbox_mAP_50": 0.2, "near/bbox_AR@100": 0.3}
    figures["near/AF"] = float("nan")
    counts = {
        ("near", "pairs of corners"): tool.Count(2, 100, 80, 10, 9),
        ("near", "binary stage"): tool.Count(2, 30, 20, 10, 8),
    }
    row = tool.row_of("near", "binary stage", figures, counts)
    header, _, line = tool.markdown_table([row]).splitlines()
    assert header.count("|") == line.count("|")
    assert line == (
        "| near | binary stage | 0.100 | 0.200 | 0.300 |  | 15.0 | 10.0 | 75.0% | 80.0% |"
    )


def test_a_whole_run(tool, tmp_path):
    annotations = tiny_detection.write_coco(tmp_path / "data", images=3)
    cfg = tiny_detection.tiny_config(tmp_path / "data", tmp_path / "work")
    cfg.model = Config(dict(model=CPN)).model
    cfg.test_evaluator = [dict(type="CocoMetric", ann_file=str(annotations), prefix="tiny")]
    cfg.test_evaluator = tool.evaluators(cfg)
    rows = tool.stage_rows(cfg)
    assert [row["after"] for row in rows] == list(tool.STAGES)
    assert set(rows[0]) == set(tool.COLUMNS)
    assert rows[0]["false removed"] == 0
    assert rows[0]["proposals"] > 0
    for key in ("proposals", "false", "objects covered"):
        left = [row[key] for row in rows]
        assert left == sorted(left, reverse=True)

    cfg.model = tiny_detection.tiny_config(tmp_path / "data", tmp_path / "work").model
    cfg.experiment_name = "another"
    with pytest.raises(ValueError, match=r"'FCOS' has no such stages. Expected 'mmext.CPN'"):
        tool.stage_rows(cfg)
