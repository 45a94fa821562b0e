import json
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def peers(load_tool):
    return load_tool("benchmarks/detection_peers.py")


def test_every_combination_is_a_config_of_its_data(peers, tmp_path):
    classes = dict(trees=1, trees_plain=1, bccd=3)
    for data in peers.DATA:
        for model in peers.MODELS:
            cfg = peers.load_config(model, data, seed=4, work_dir=tmp_path)
            assert cfg.model.bbox_head.num_classes == classes[data]
            for loader in ("train_dataloader", "test_dataloader"):
                assert len(cfg[loader].dataset.metainfo.classes) == classes[data]
            assert cfg.randomness.seed == 4
            assert cfg.model.backbone.type == "mmext.EfficientNetLite"


def test_models_differ_in_head_and_finest_level_only(peers, tmp_path):
    pyramids = [model for model in peers.MODELS if model not in ("centernet_triplet", "cpn")]
    configs = {model: peers.load_config(model, "bccd", 0, tmp_path) for model in pyramids}
    for model, cfg in configs.items():
        strides = cfg.model.bbox_head.strides
        assert strides[-1] == 32, model
        assert len(strides) == len(cfg.model.backbone.out_indices) == cfg.model.neck.num_outs
        assert len(strides) == len(cfg.model.bbox_head.get("regress_ranges", strides))
        cfg.model = dict(backbone=cfg.model.backbone, neck=cfg.model.neck)
    for names in (
        ("centernetpp", "centernetpp_full", "centernet_update", "fcos"),
        ("centernetpp_stride4", "centernet_update_stride4"),
    ):
        first, *others = [configs[name].to_dict() for name in names]
        assert all(other == first for other in others)
    for cfg in configs.values():
        cfg.model.backbone.out_indices = None
        cfg.model.neck.update(in_channels=None, num_outs=None)
    assert configs["centernetpp"].to_dict() == configs["centernetpp_stride4"].to_dict()


def test_calibration_times_what_is_missing_and_keeps_the_rest(peers, tmp_path, monkeypatch):
    class Timer:
        def __init__(self, cfg, threads):
            self.name = cfg.model.type

        def step(self):
            steps.append(self.name)

        def seconds(self):
            return 2.0

    steps = []
    monkeypatch.setattr(peers, "StepTimer", Timer)
    monkeypatch.setattr(peers, "set_up", lambda threads, scope: None)
    (tmp_path / "calibration.json").write_text('{"trees-fcos": 9.0}')
    args = SimpleNamespace(out=tmp_path, threads=1)
    runs = [(m, "trees", 0) for m in ("fcos", "centernetpp", "centernet_update")]
    peers.calibrate(runs, args)
    seconds = json.loads((tmp_path / "calibration.json").read_text())
    assert seconds == {
        "trees-fcos": 9.0,
        "trees-centernetpp": 2.0,
        "trees-centernet_update": 2.0,
    }
    assert steps[:4] == ["mmext.CenterNetPlusPlus", "CenterNet"] * 2  # in turns
    steps.clear()
    peers.calibrate(runs, args)
    assert not steps


def test_schedule_is_stretched(peers, tmp_path):
    cfg = peers.load_config("fcos", "trees", 0, tmp_path)
    peers.set_iterations(cfg, 1200)
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == cosine.begin
    assert cosine.end == cosine.begin + cosine.T_max == cfg.train_cfg.max_iters == 1200
    assert cfg.train_cfg.val_begin > 1200


def test_table_has_means_and_ranges(peers):
    rows = [
        {
            "model": "fcos",
            "test/bbox_mAP": ap,
            "test/bbox_mAP_50": 0.5,
            "test/bbox_mAP_s": 0.1,
            "test/RBC_precision": 0.25,
            "iterations": 60,
            "minutes": 1.0,
            "parameters": 3_250_000,
            "peak_rss_mb": 1500.0,
        }
        for ap in (0.2, 0.3)
    ]
    header, _, line = peers.markdown_table(rows).splitlines()
    assert header == (
        "| model | seeds | test/AP | test/AP50 | test/RBC_precision | it/s | M params | peak MB |"
    )
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "fcos",
        "2",
        "0.250 (0.200-0.300)",
        "0.500 (0.500-0.500)",
        "0.250 (0.250-0.250)",
        "1.00",
        "3.25",
        "1500",
    ]
