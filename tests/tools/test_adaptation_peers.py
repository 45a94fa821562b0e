"""The benchmark of adaptation: configs of all runs, shares of the gap, the table."""

import pytest

METHODS = ("source-only", "translation", "adversarial", "self-training", "bdl", "oracle")
DATA = ("streets", "camvid_dusk", "camvid_idd", "camvid_dusk_idd")


@pytest.fixture(scope="module")
def peers(load_tool):
    return load_tool("benchmarks/adaptation_peers.py")


def result(method, figure, seed=0):
    return dict(method=method, data="streets", seed=seed, minutes=1.0, mIoU=figure)


def test_shares_of_the_gap(peers):
    results = [result("source-only", 30.0), result("oracle", 70.0), result("bdl", 50.0)]
    results += [result("bdl", 60.0, seed=1), result("source-only", 40.0, seed=1)]  # no oracle yet
    assert peers.gap_shares(results) == {
        ("source-only", 0): 0.0,
        ("oracle", 0): 1.0,
        ("bdl", 0): 0.5,
    }
    table = peers.markdown_table(results).splitlines()
    assert table[-1] == "| bdl | 2 | 55.0 (50.0 to 60.0) | 50 % | 1.0 |"
    results[-2]["minutes"] = None  # interrupted
    results[0]["minutes"] = 3.0
    table = peers.markdown_table(results).splitlines()
    assert [line.split("|")[-2].strip() for line in table[2:]] == ["2.0", "1.0", "1.0"]
    for each in results:
        each["minutes"] = None
    assert peers.markdown_table(results).endswith("| 50 % |  |")


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("method", METHODS)
def test_configs_of_the_runs(peers, method, data, tmp_path, monkeypatch):
    assert (peers.METHODS, peers.DATA) == (METHODS, DATA)
    monkeypatch.setenv("MMEXT_SHARED", str(tmp_path))
    cfg = peers.load_config(method, data, 3, tmp_path / "run")
    dataset, tested = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    source = dataset.sources.source
    assert "mmext.LoadLabelIds" in [step.type for step in source.pipeline]
    for target in dataset.targets.values():
        assert "mmext.LoadLabelIds" not in [step.type for step in target.pipeline]
        assert target != source
    assert bool(dataset.targets) == (method not in ("source-only", "oracle"))
    assert (cfg.model.get("discriminator") is not None) == (method in ("adversarial", "bdl"))
    if method == "oracle":  # learns from the domain that is tested
        assert source.get("domain") == tested.get("domain")
        assert source.type == tested.type
    if data != "streets":
        resized = [step.scale for step in source.pipeline if step.type == "Resize"]
        assert resized == [step.scale for step in tested.pipeline if step.type == "Resize"]
        assert cfg.val_dataloader.dataset == tested
        assert len(resized) == 1
    assert cfg.randomness.seed == 3
