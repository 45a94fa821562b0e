"""Tables of methods by domains, and the tool that makes them of work directories."""

import csv
import importlib.util
import io
import json
import os
import sys
from pathlib import Path

import pytest

from mmext.segmentation.domain_tables import (
    csv_table,
    domain_figures,
    markdown_table,
    write_domain_table,
)

TOOL = Path(__file__).parents[2] / "tools/analysis_tools/adaptation_table.py"
RUNS = {
    "source only": [dict(day=50.0, fog=40.0, mean=45.0), dict(day=52.0, fog=41.0, mean=46.5)],
    "expert": [dict(day=61.25)],
}


def test_figures_by_domain():
    figures = {"mIoU": 45.0, "aAcc": 80.0, "day/mIoU": 50.0, "fog/mIoU": 40.0, "day/mIoU7": 60.0}
    assert domain_figures(figures) == dict(day=50.0, fog=40.0, mean=45.0)
    assert domain_figures(figures, "mIoU7") == dict(day=60.0, mean=60.0)
    assert domain_figures(dict(mIoU=7.0)) == dict(mean=7.0)
    with pytest.raises(ValueError, match=r"no mIoU16 among the figures \['mIoU'\].*--figure"):
        domain_figures(dict(mIoU=7.0), "mIoU16")


def test_markdown():
    assert markdown_table(RUNS).splitlines() == [
        "| method | seeds | day | fog | mean |",
        "|---|---:|---:|---:|---:|",
        "| source only | 2 | 51.0 ± 1.4 | 40.5 ± 0.7 | 45.8 ± 1.1 |",
        "| expert | 1 | 61.2 | - | - |",
    ]
    assert markdown_table(dict(a=[dict(mean=1.0)])).splitlines()[0] == "| method | mean |"


def test_csv():
    rows = list(csv.DictReader(io.StringIO(csv_table(RUNS))))
    assert rows[0]["day"] == "51.0"
    assert float(rows[0]["day std"]) == pytest.approx(2**0.5)
    assert rows[1]["day std"] == rows[1]["fog"] == ""


def test_files_are_of_two_kinds(tmp_path):
    write_domain_table(tmp_path / "new" / "t.md", RUNS)
    write_domain_table(tmp_path / "t.csv", RUNS)
    assert (tmp_path / "new" / "t.md").read_text() == markdown_table(RUNS) + "\n"
    assert (tmp_path / "t.csv").read_text() == csv_table(RUNS)
    with pytest.raises(ValueError, match=r"Expected \.md or \.csv"):
        write_domain_table(tmp_path / "t.txt", RUNS)


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the tool's main in this process; return what it printed."""
    spec = importlib.util.spec_from_file_location("adaptation_table", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(TOOL), *arguments])
        module.main()
        return capsys.readouterr().out

    return run


def test_the_tool_reads_the_newest_figures_of_a_folder(tmp_path, tool):
    for age, value in ((10, 1.0), (0, 55.0)):
        folder = tmp_path / "work" / f"run{age}"
        folder.mkdir(parents=True)
        file = folder / "figures.json"
        file.write_text(json.dumps({"mIoU": value, "day/mIoU": value}))
        os.utime(file, (1e9 - age, 1e9 - age))
    (tmp_path / "work" / "schedule.json").write_text(json.dumps(dict(recipe={})))
    single = tmp_path / "seed.json"
    single.write_text(json.dumps({"mIoU": 57.0, "day/mIoU": 57.0}))
    table = tmp_path / "table.csv"
    printed = tool(f"ours={tmp_path / 'work'}", f"ours={single}", "--out", str(table))
    assert "| ours | 2 | 56.0 ± 1.4 | 56.0 ± 1.4 |" in printed
    assert table.read_text().startswith("method,seeds,day,day std,mean,mean std\nours,2,56.0,")
    with pytest.raises(SystemExit, match="has no json file with mIoU16"):
        tool(f"ours={tmp_path / 'work'}", "--figure", "mIoU16")
    with pytest.raises(SystemExit, match=r"Expected NAME=PATH"):
        tool("ours")
