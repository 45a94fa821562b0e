"""The benchmark of rooms: configs of all runs, both styles, the table."""

import pytest

from mmext.detection3d.hyperdet3d.hypernetwork import FUSIONS

METHODS = (
    "group-free3d",
    "hyperdet3d",
    "hyperdet3d-agnostic",
    "hyperdet3d-specific",
    "hyperdet3d-add",
    "hyperdet3d-seeds",
)
DATA = ("rooms", "rooms-aligned")


@pytest.fixture(scope="module")
def peers(load_tool):
    return load_tool("benchmarks/indoor_peers.py")


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", METHODS)
def test_configs_of_the_runs(peers, method, data, tmp_path):
    assert (tuple(peers.METHODS), peers.DATA) == (METHODS, DATA)
    cfg = peers.load_config(method, data, 3, tmp_path / "run")
    plain = peers.load_config("group-free3d", data, 3, tmp_path / "run")
    if method == "group-free3d":
        assert cfg.model.type == "mmext.GroupFree3D"
    else:
        assert cfg.model.type == "mmext.HyperDet3D"
        part = method.partition("-")[2]
        assert cfg.model.hyper.fusion == (part if part in FUSIONS else "mul")
        assert cfg.model.hyper.get("scene_source", "points") == (
            "seeds" if part == "seeds" else "points"
        )
    for key in ("train_dataloader", "train_cfg", "param_scheduler", "randomness"):
        assert cfg[key] == plain[key]
    form = "oriented" if data == "rooms" else "aligned"
    assert cfg.train_dataloader.dataset.ann_file == f"rooms_{form}_train.pkl"
    for style in ("val", "other"):
        peers.show_style(cfg, style)
        assert cfg.test_dataloader.dataset.ann_file == f"rooms_{form}_{style}.pkl"
        assert cfg.val_dataloader.dataset.ann_file == f"rooms_{form}_val.pkl"
        assert cfg.experiment_name == f"run-{style}"


def test_table(peers):
    def result(method, figure, minutes):
        styles = {
            style: {"mAP_0.25": figure + step, "mAP_0.50": figure / 2}
            for style, step in (("val", 0), ("other", -10))
        }
        return dict(method=method, minutes=minutes, **styles)

    results = [result("a", 40.0, 2.0), result("b", 50.0, None), result("a", 44.0, None)]
    lines = peers.markdown_table(results).splitlines()
    assert lines[0].startswith("| method | seeds | same style, mAP@0.25 | same style, mAP@0.50 |")
    assert lines[2:] == [
        "| a | 2 | 42.0 (40.0 to 44.0) | 21.0 (20.0 to 22.0) | 32.0 (30.0 to 34.0)"
        " | 21.0 (20.0 to 22.0) | 2.0 |",
        "| b | 1 | 50.0 | 25.0 | 40.0 | 25.0 |  |",
    ]
