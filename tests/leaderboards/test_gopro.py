import subprocess
import sys

import cv2
import numpy as np
import pytest
from tiny_restoration import smooth_picture

from mmext.leaderboards.folders import evaluate_folders
from mmext.leaderboards.gopro import gopro_figures


@pytest.fixture
def saved(tmp_path):
    """Two targets in sub-folders and results of other suffixes."""
    rng = np.random.default_rng(0)
    for name in ("a/1", "b/1"):
        target = smooth_picture(rng, 40, 60)
        noise = rng.normal(0, 5, target.shape)
        for folder, image, suffix in (("gt", target, "png"), ("out", target + noise, "bmp")):
            path = tmp_path / folder / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.clip(image, 0, 255).round().astype(np.uint8))
    return tmp_path


def test_figures_are_the_official_ones(pair, official):
    figures = gopro_figures(*pair)
    expected = dict(
        PSNR="psnr_rgb_uint8",
        SSIM_uniform_range2="skimage_ssim_uniform7_range2_AS_PUBLISHED_GOPRO",
        SSIM_matlab3d="ssim_matlab3d_rgb_uint8_L255",
        SSIM_uniform="skimage_ssim_uniform7_range1",
    )
    assert figures == {
        key: pytest.approx(official["metrics"][name], abs=1e-6) for key, name in expected.items()
    }


def test_predictions_are_rounded_to_8_bits(pair):
    shifted = pair[0] + 0.4 / 255
    assert gopro_figures(shifted, pair[1]) == gopro_figures(*pair)


def test_folders_are_paired_by_name(saved):
    table = evaluate_folders(saved / "out", saved / "gt", gopro_figures)
    assert list(table) == ["a/1", "b/1", "mean"]
    assert table["mean"]["PSNR"] == pytest.approx(
        np.mean([table[name]["PSNR"] for name in ("a/1", "b/1")])
    )
    assert 30 < table["mean"]["PSNR"] < 40


def test_missing_result_is_named(saved):
    (saved / "out" / "b" / "1.bmp").unlink()
    with pytest.raises(ValueError, match=r"1 of the 2 images of .*gt have no result .*: b/1"):
        evaluate_folders(saved / "out", saved / "gt", gopro_figures)


def test_sizes_have_to_agree(saved):
    cv2.imwrite(str(saved / "out" / "a" / "1.bmp"), np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(ValueError, match=r"1\.bmp 50x40 and .*1\.png 60x40 pixels"):
        evaluate_folders(saved / "out", saved / "gt", gopro_figures)


def test_command_prints_means_and_writes_a_table(saved):
    command = [sys.executable, "-m", "mmext.leaderboards.gopro", saved / "out", saved / "gt"]
    run = subprocess.run(
        [*command, "--out", saved / "figures.csv"], capture_output=True, text=True, check=True
    )
    assert "SSIM_matlab3d 0." in run.stdout
    rows = (saved / "figures.csv").read_text().splitlines()
    assert rows[0] == "image,PSNR,SSIM_uniform_range2,SSIM_matlab3d,SSIM_uniform"
    assert [row.split(",")[0] for row in rows[1:]] == ["a/1", "b/1", "mean"]
    failed = subprocess.run([*command[:-1], saved / "none"], capture_output=True, text=True)
    assert failed.returncode == 1
    assert "none does not exist" in failed.stderr
