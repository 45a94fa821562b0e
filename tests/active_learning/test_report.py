"""The report over several campaigns."""

from pathlib import Path

import pytest

from mmext.active_learning import Pool
from mmext.active_learning.report import gains, group, markdown, read_run


def write_run(folder: Path, selection: str, seed: int, figures: list[float], phases: int = 1):
    recipe = dict(
        model="RetinaHead" if phases == 1 else "mmext.MIAODRetinaHead",
        phases=[dict(name="a", epochs=1)] * phases,
        acquisition=dict(type=f"mmext.{selection}"),
        reinit=True,
    )
    pool = Pool(["a.png"], seed=seed, recipe=recipe)
    for cycle, figure in enumerate(figures):
        metrics = {"coco/bbox_mAP": figure, "other": 1.0}
        sizes = dict(labeled=10 + 5 * cycle, boxes=30 + 20 * cycle + seed)
        entry = dict(cycle=cycle, **sizes, seconds=1.0, metrics=metrics)
        pool.history.append(entry)
    folder.mkdir()
    pool.save(folder)
    return folder


@pytest.fixture
def folders(tmp_path):
    return [
        write_run(tmp_path / "r0", "Random", 0, [0.10, 0.20]),
        write_run(tmp_path / "r1", "Random", 1, [0.20, 0.40]),
        write_run(tmp_path / "e0", "Entropy", 0, [0.10, 0.25]),
        write_run(tmp_path / "e1", "Entropy", 1, [0.20, 0.47]),
        write_run(tmp_path / "m0", "Random", 0, [0.30, 0.30], phases=7),
        write_run(tmp_path / "d0", "MIAODDiscrepancy", 0, [0.30, 0.35], phases=7),
    ]


def test_separates_training_from_selection(folders):
    curves, boxes = group(read_run(folder)[0] for folder in folders)
    rows = {(what, name): row for what, name, row in gains(curves)}
    training = rows["training", "MIAODRetinaHead, 7 phases - RetinaHead, Random"]
    assert training[10] == {0: pytest.approx(0.2)}
    assert training[15] == {0: pytest.approx(0.1)}
    selection = rows["selection", "RetinaHead: Entropy - Random"]
    assert selection[15] == {0: pytest.approx(0.05), 1: pytest.approx(0.07)}
    assert rows["selection", "MIAODRetinaHead, 7 phases: MIAODDiscrepancy - Random"][15] == {
        0: pytest.approx(0.05)
    }
    assert len(rows) == 3
    text = markdown(curves, boxes, "coco/bbox_mAP")
    assert "| RetinaHead | Random | 15.0 ± 7.1 | 30.0 ± 14.1 | 2 |" in text
    assert "| selection | RetinaHead: Entropy - Random | +0.0 ± 0.0 | +6.0 ± 1.4 |" in text
    assert "| RetinaHead | Entropy | 30 ± 1 | 50 ± 1 |" in text


def test_refuses_doubled_runs_and_unknown_metrics(folders, tmp_path):
    with pytest.raises(ValueError, match="seed 0"):
        group(read_run(folder)[0] for folder in [folders[0], folders[0]])
    with pytest.raises(ValueError, match="not the metric 'mAP'"):
        read_run(folders[0], "mAP")
    with pytest.raises(ValueError, match="no figures yet"):
        read_run(write_run(tmp_path / "empty", "Random", 0, []))


def test_tool_writes_tables_and_curves(folders, tmp_path, load_al_tool, capsys):
    load_al_tool("al_report").main([*map(str, folders), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.strip() == (tmp_path / "out" / "report.md").read_text().strip()
    lines = (tmp_path / "out" / "curves.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 6
    assert "RetinaHead,Entropy,15,51,1,0.47" in lines
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000
