import json
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module")
def study(load_tool):
    return load_tool("benchmarks/rotated_losses_study.py")


def test_configs_differ_in_the_loss_alone(study, tmp_path):
    for data, classes in (("ships", 4), ("hrsc_ships", 1)):
        configs = []
        for loss in study.LOSSES:
            cfg = study.load_config(study.Run(loss, data, 3, "test", None), tmp_path)
            assert cfg.model.bbox_head.num_classes == classes
            for loader in ("train_dataloader", "test_dataloader"):
                assert len(cfg[loader].dataset.metainfo.classes) == classes
            assert cfg.randomness.seed == 3
            decoded = cfg.model.bbox_head.pop("reg_decoded_bbox", False)
            assert decoded == (loss != "smooth-l1")
            cfg.work_dir = None
            del cfg.model.bbox_head.loss_bbox
            configs.append(cfg.to_dict())
        assert all(cfg == configs[0] for cfg in configs[1:])


def test_validation_and_loss_weight(study, tmp_path):
    cfg = study.load_config(study.Run("kld", "hrsc_ships", 0, "val", 7.0), tmp_path)
    assert cfg.test_dataloader.dataset.ann_file.endswith("hrsc_ships_labels/val")
    assert cfg.model.bbox_head.loss_bbox.loss_weight == 7.0
    cfg = study.load_config(study.Run("kld", "ships", 0, "val", None), tmp_path)
    assert cfg.test_dataloader.dataset.ann_file == "val/annfiles/"


def test_runs_that_differ_have_folders_that_differ(study):
    runs = [
        study.Run(loss, data, seed, split, weight)
        for loss in study.LOSSES
        for data in study.DATA
        for seed in (0, 1)
        for split in ("val", "test")
        for weight in (None, 1.0, 1.5)
    ]
    assert len({run.name for run in runs}) == len(runs)


def test_labels_are_sorted_by_split(study, tmp_path, monkeypatch):
    source = tmp_path / "shared" / "data" / "hrsc_ships"
    (source / "splits").mkdir(parents=True)
    (source / "labelTxt").mkdir()
    for name, split in (("1", "train"), ("2", "val"), ("3", "test")):
        (source / "splits" / f"{split}.txt").write_text(f"{name}\n")
        (source / "labelTxt" / f"{name}.txt").write_text(name)
    monkeypatch.setenv("MMEXT_SHARED", str(tmp_path / "shared"))
    study.sort_labels(tmp_path / "out")
    study.sort_labels(tmp_path / "out")
    found = {p.parent.name: p.read_text() for p in (tmp_path / "out").rglob("*.txt")}
    assert found == dict(train="1", val="2", test="3")
    monkeypatch.setenv("MMEXT_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match="set MMEXT_SHARED"):
        study.sort_labels(tmp_path / "out")


def test_table_and_resumption(study, tmp_path, capsys):
    runs = [
        study.Run(loss, "ships", seed, "test", None) for loss in ("gwd", "kld") for seed in (0, 1)
    ]
    for run, value in zip(runs, (0.1, 0.3, 0.5, 0.5), strict=True):
        (tmp_path / run.name).mkdir()
        metrics = {"mAP": 0, "AP50": value, "AP75": 0.0, "AP50_aspect_1-3": value / 2}
        metrics["AP75_aspect_1-3"] = 0.0
        result = dict(loss=run.loss, data="ships", seed=run.seed, loss_weight=2.0, metrics=metrics)
        (tmp_path / run.name / "result.json").write_text(json.dumps(result))
    args = SimpleNamespace(out=tmp_path, threads=1, iterations=None)
    commands = {tmp_path / run.name: study.command_of(run, args) for run in runs}
    study.run_all(commands, 1, 1)  # starts nothing
    study.summarise(runs, tmp_path)
    lines = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("|")
    ]
    assert lines[0] == ["length : width", "loss", "weight", "seeds", "AP50", "AP75"]
    assert lines[2] == ["all", "gwd", "2", "2", "0.200 (0.100-0.300)", "0.000 (0.000-0.000)"]
    assert lines[5] == ["1-3", "kld", "2", "2", "0.250 (0.250-0.250)", "0.000 (0.000-0.000)"]
    assert len((tmp_path / "results_ships.csv").read_text().splitlines()) == 5


def test_real_ships_start_from_the_same_run_on_rendered_ones(study, tmp_path):
    run = study.Run("kld", "hrsc_ships", 1, "val", 5.0)
    with pytest.raises(SystemExit, match="run the study with --data ships first"):
        study.weights_on_ships(run, tmp_path)
    folder = tmp_path / study.Run("kld", "ships", 1, "val", 5.0).name
    folder.mkdir()
    (folder / "result.json").write_text("{}")
    # Written where the study ran, which may have been moved since.
    (folder / "last_checkpoint").write_text("/elsewhere/iter_7.pth")
    assert study.weights_on_ships(run, tmp_path) == folder / "iter_7.pth"


def test_a_failed_run_stops_the_study_with_its_log(study, tmp_path):
    with pytest.raises(SystemExit, match="no such thing"):
        study.run_all({tmp_path / "a": ["sh", "-c", "echo no such thing; exit 3"]}, 1, 1)
