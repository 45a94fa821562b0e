"""The benchmark of several domains: configs of all runs, rows of the table."""

import pytest

from mmext.engine.preflight import walk

DATA = {
    "streets_day_fog": (["game"], ["day", "fog"], 9),
    "streets_day_fog_night": (["game"], ["day", "fog", "night"], 9),
    "streets_two_sources": (["game", "arcade"], ["day"], 9),
    "camvid_idd": (["day"], ["dusk", "idd"], 7),
    "camvid_two_sources": (["first", "second"], ["idd"], 7),
}
UNADAPTED = ("source-only", "source-only-colours", "few-labels", "oracle")


@pytest.fixture(scope="module")
def peers(load_tool):
    return load_tool("benchmarks/multi_domain_peers.py")


def kinds(pipeline):
    return [step["type"] for step in pipeline]


@pytest.mark.parametrize("data", list(DATA))
def test_configs_of_the_runs(peers, data, tmp_path, monkeypatch):
    assert tuple(DATA) == peers.DATA
    monkeypatch.setenv("MMEXT_SHARED", str(tmp_path))
    sources, targets, num_classes = DATA[data]
    for name in peers.methods_of(data):
        cfg = peers.load_config(name, data, 3, tmp_path / "run")
        assert cfg.randomness.seed == 3
        dataset = cfg.train_dataloader.dataset
        adapts = name not in UNADAPTED and not name.startswith("only-")
        wanted = [name.partition("-")[2]] if name.startswith("expert-") else targets
        assert list(dataset.targets) == (wanted if adapts else []), name
        for target in dataset.targets.values():
            assert "mmext.LoadLabelIds" not in kinds(target.pipeline)
        for source in dataset.sources.values():
            for part in source.get("datasets", [source]):
                assert "mmext.LoadLabelIds" in kinds(part.pipeline), name
                shown = name.startswith(("multi-source", "source-only-colours"))
                shown = shown and name != "multi-source-no-colours"
                assert ("mmext.LABStatTransfer" in kinds(part.pipeline)) == shown, name
        if name in ("few-labels", "dual-level"):
            few = dataset.sources.few
            parts = few.get("datasets", [few])
            assert [part.indices for part in parts] == [20] * len(targets)
        elif name == "oracle":
            assert list(dataset.sources) == targets
        elif name.startswith("only-"):
            assert list(dataset.sources) == [name.partition("-")[2]]
        else:
            assert list(dataset.sources) == sources
        tested = cfg.test_dataloader.dataset
        assert list(tested.datasets) == targets
        assert cfg.val_dataloader.dataset == tested
        nodes = walk(cfg.model, "")
        assert {n["num_classes"] for _, n in nodes if "num_classes" in n} == {num_classes}, name


def test_ablations_change_what_they_say(peers, tmp_path):
    def model(name, data="streets_two_sources"):
        return peers.load_config(name, data, 0, tmp_path).model

    assert list(model("multi-source").segmentor.members) == ["game", "arcade"]
    assert model("multi-source-no-col").lambda_col == 0
    assert model("multi-source-no-target").lambda_target == 0
    assert model("multi-source-mutual").teacher == "mutual"
    assert model("multi-source-shared").segmentor.share_backbone
    three = "streets_day_fog_night"
    assert list(model("multi-target", three).targets) == ["day", "fog", "night"]
    cfg = peers.load_config("multi-target-no-adversarial", three, 0, tmp_path)
    assert cfg.model.discriminator is None
    assert set(cfg.optim_wrapper) == {"constructor", "segmentor", "experts"}
    assert model("multi-target-no-weights", three).lambda_weights == 0


def result(name, seed=0, **figures):
    found = {f"{domain}/mIoU": value for domain, value in figures.items()}
    return dict(method=name, seed=seed, rows={name: found})


def test_rows_of_the_table(peers):
    results = [
        result("source-only", day=40.0, fog=20.0),
        result("source-only", seed=1, day=42.0, fog=22.0),
        result("expert-day", day=60.0, fog=10.0),
        result("expert-fog", day=30.0, fog=50.0),
        result("expert-day", seed=1, day=62.0, fog=10.0),  # the other one is not there yet
    ]
    rows = peers.rows_of(results)
    assert rows["source-only"] == [
        dict(day=40.0, fog=20.0, mean=30.0),
        dict(day=42.0, fog=22.0, mean=32.0),
    ]
    assert rows["separate experts"] == [dict(day=60.0, fog=50.0, mean=55.0)]
