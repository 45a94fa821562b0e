"""``tools/analysis_tools/chosen_images.py``: which images it shows, in what order."""

import sys

import cv2
import pytest
from tiny_campaign import campaign_config

from mmext.active_learning import Pool
from mmext.engine import Runner


@pytest.fixture
def tool(load_al_tool):
    return load_al_tool("analysis_tools/chosen_images")


@pytest.fixture
def campaign(pool_data, tmp_path, request):
    """Work directory of a finished campaign that chose three images by entropy."""
    folder = tmp_path / "campaign"
    cfg = campaign_config(pool_data, folder, acquisition=dict(type="mmext.Entropy"))
    cfg.experiment_name = request.node.name
    Runner.from_cfg(cfg).train()
    return folder


def test_shows_from_the_highest_score_to_the_lowest(tool, campaign):
    choice = tool.read_choice(campaign, cycle=1, images=2)
    scores = Pool.load(campaign).history[0]["scores"]
    assert len(set(scores.values())) == 3  # the order is not that of the names
    ranked = sorted(scores, key=scores.get, reverse=True)
    assert choice.scores == [scores[ranked[0]], scores[ranked[-1]]]
    for info, image in zip(choice.shown, [ranked[0], ranked[-1]], strict=True):
        assert info["img_path"].endswith(image)
    assert choice.title == "Entropy | FCOSHead: 3 images, 6 boxes"


def test_draws_a_row_per_campaign(tool, campaign, monkeypatch, tmp_path):
    out = tmp_path / "sheet.png"
    for campaigns in ([campaign], [campaign, campaign]):
        arguments = [*map(str, campaigns), "--images", "4", "--cycle", "0", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["chosen_images.py", *arguments])
        tool.main()
        height, width = cv2.imread(str(out)).shape[:2]
        assert width == 484
        assert height == pytest.approx(170.5 * len(campaigns), abs=1)


def test_an_unknown_cycle_is_named(tool, campaign, monkeypatch, tmp_path):
    arguments = [str(campaign), "--cycle", "2", "--out", str(tmp_path / "sheet.png")]
    monkeypatch.setattr(sys, "argv", ["chosen_images.py", *arguments])
    with pytest.raises(SystemExit, match=r"--cycle 2: .* has cycles 0 to 1"):
        tool.main()
