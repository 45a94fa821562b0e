import pytest
from mmengine.config import Config


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("analysis_tools/center_check.py")


def test_every_set_gets_both_metrics(tool):
    cfg = Config(
        dict(
            test_evaluator=[
                dict(type="mmext.CocoSubsetMetric", ann_file="a/near.json", prefix="validation"),
                dict(type="CocoMetric", ann_file="a/far.json", metric="bbox"),
            ]
        )
    )
    found = [(m["type"], m["ann_file"], m["prefix"]) for m in tool.evaluators(cfg)]
    assert found == [
        ("mmext.CocoSubsetMetric", "a/near.json", "validation"),
        ("mmext.FalseDiscoveryMetric", "a/near.json", "validation"),
        ("mmext.CocoSubsetMetric", "a/far.json", "far"),
        ("mmext.FalseDiscoveryMetric", "a/far.json", "far"),
    ]
    with pytest.raises(ValueError, match=r"VOCMetric.*no ann_file"):
        tool.evaluators(Config(dict(test_evaluator=dict(type="VOCMetric"))))


def test_the_check_is_switched_off_in_a_copy(tool):
    quarter = Config(dict(model=dict(type="Q", test_cfg=dict(grouping=dict()))))
    triplet = Config(dict(model=dict(type="T", test_cfg=dict(center_check=dict(small_parts=3)))))
    assert tool.without_check(quarter).model.test_cfg.grouping.center_check is False
    assert tool.without_check(triplet).model.test_cfg.center_check is None
    assert quarter.model.test_cfg.grouping == {}
    assert triplet.model.test_cfg.center_check == dict(small_parts=3)
    with pytest.raises(ValueError, match="'FCOS' has no centre check"):
        tool.without_check(Config(dict(model=dict(type="FCOS", test_cfg=dict(nms_pre=1)))))


def test_table(tool):
    metrics = {"cross/bbox_mAP": 0.25, "cross/AF_m": float("nan"), "near/AF": 0.5, "near/other": 1}
    table = tool.rows(metrics, "with")
    assert table[0] == {"set": "cross", "centre check": "with", "AP": 0.25} | {
        "AF medium": table[0]["AF medium"]
    }
    assert table[1] == {"set": "near", "centre check": "with", "AF": 0.5}
    header, _, cross, near = tool.markdown_table(table).splitlines()
    assert header.count("|") == cross.count("|") == near.count("|") == 13
    assert "| 0.250 |" in cross
    assert "nan" not in cross
