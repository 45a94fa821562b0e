"""SIDD and GoPro preparation: what is cut where, and going on after an interruption."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *args: object) -> subprocess.CompletedProcess:
    tool = ROOT / "tools" / "dataset_converters" / name
    command = [sys.executable, str(tool), *map(str, args), "--workers", "2"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def place_coded(height: int, width: int, blue: int) -> np.ndarray:
    """(H, W, 3) uint8 whose green and red hold the pixel's row and column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([np.full_like(rows, blue), rows, columns], axis=2)


@pytest.fixture
def sidd(tmp_path):
    for number in (1, 2):
        scene = tmp_path / "Data" / f"{number:04d}_scene"
        scene.mkdir(parents=True)
        for kind, blue in (("NOISY", 10), ("GT", 20)):
            name = f"{number:04d}_{kind}_SRGB_010.PNG"
            cv2.imwrite(str(scene / name), place_coded(40, 60, blue + number))
    return tmp_path


OPTIONS = ("--patches", 5, "--size", 16)


def test_sidd_patches_are_pairs_and_go_on(sidd):
    out = sidd / "train"
    done = run("sidd_patches.py", sidd / "Data", out, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "10 patches written, 0 were there" in done.stdout
    names = sorted(path.name for path in (out / "input").iterdir())
    assert names == [f"{i}_{j}.png" for i in (1, 2) for j in range(1, 6)]
    corners = set()
    for name in names:
        noisy, clean = (cv2.imread(str(out / kind / name)) for kind in ("input", "groundtruth"))
        assert noisy.shape == (16, 16, 3)
        assert (noisy[..., 0] == 10 + int(name[0])).all()
        assert (clean[..., 0] == 20 + int(name[0])).all()
        np.testing.assert_array_equal(noisy[..., 1:], clean[..., 1:])  # the same place
        corners.add((name[0], *noisy[0, 0, 1:].tolist()))
    assert len(corners) > 7  # places are drawn, and differ between pairs

    before = {path: path.read_bytes() for path in out.rglob("*.png")}
    for lost in ("input/2_3.png", "groundtruth/2_4.png"):
        (out / lost).unlink()
    assert (
        "2 patches written, 8 were there"
        in run("sidd_patches.py", sidd / "Data", out, *OPTIONS).stdout
    )
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == before


def test_sidd_recipes_are_not_mixed(sidd):
    run("sidd_patches.py", sidd / "Data", sidd / "train", *OPTIONS)
    other = run("sidd_patches.py", sidd / "Data", sidd / "train", *OPTIONS, "--seed", 1)
    assert other.returncode == 1
    assert "was written with {'patches': 5, 'size': 16, 'seed': 1234}" in other.stderr


def test_sidd_faults_are_named(sidd):
    (sidd / "Data" / "0002_scene" / "0002_GT_SRGB_010.PNG").unlink()
    missing = run("sidd_patches.py", sidd / "Data", sidd / "train", *OPTIONS)
    assert missing.returncode == 1
    assert "0002_GT_SRGB_010.PNG does not exist" in missing.stderr
    nothing = run("sidd_patches.py", sidd, sidd / "train", *OPTIONS)
    assert "Expected SIDD-Medium's folder Data" in nothing.stderr
    assert not (sidd / "train").exists()


@pytest.fixture
def gopro(tmp_path):
    for split in ("train", "test"):
        for kind, blue in (("blur", 10), ("sharp", 20)):
            folder = tmp_path / "GOPRO_Large" / split / "seq1" / kind
            folder.mkdir(parents=True)
            for frame in (1, 2):
                cv2.imwrite(str(folder / f"00{frame}.png"), place_coded(40, 70, blue + frame))
    return tmp_path


def test_gopro_frames(gopro):
    out = gopro / "out"
    done = run("gopro.py", gopro / "GOPRO_Large", out)
    assert done.returncode == 0, done.stderr
    for split in ("train", "test"):
        assert f"{split}: 2 frames, 2 pairs of files written" in done.stdout
        for kind, blue in (("input", 10), ("groundtruth", 20)):
            names = sorted(path.name for path in (out / split / kind).iterdir())
            assert names == ["seq1-001.png", "seq1-002.png"]
            frame = cv2.imread(str(out / split / kind / "seq1-002.png"))
            np.testing.assert_array_equal(frame, place_coded(40, 70, blue + 2))
    (out / "train" / "input" / "seq1-001.png").unlink()
    again = run("gopro.py", gopro / "GOPRO_Large", out).stdout
    assert "train: 2 frames, 1 pairs" in again
    assert "test: 2 frames, 0 pairs" in again


def test_gopro_patches_cover_the_training_frames(gopro):
    out = gopro / "out"
    done = run("gopro.py", gopro / "GOPRO_Large", out, "--patch-size", 32)
    assert done.returncode == 0, done.stderr
    assert len(list((out / "test" / "input").iterdir())) == 2
    seen = np.zeros((40, 70), bool)
    for path in sorted((out / "train" / "input").glob("seq1-001-*.png")):
        patch = cv2.imread(str(path))
        clean = cv2.imread(str(out / "train" / "groundtruth" / path.name))
        assert patch.shape == (32, 32, 3)
        np.testing.assert_array_equal(patch[..., 1:], clean[..., 1:])
        top, left = patch[0, 0, 1:]
        seen[top : top + 32, left : left + 32] = True
    assert seen.all()
    mixed = run("gopro.py", gopro / "GOPRO_Large", out)
    assert mixed.returncode == 1
    assert "was written with {'patch_size': 32}" in mixed.stderr


def test_gopro_missing_partner_is_named(gopro):
    (gopro / "GOPRO_Large" / "test" / "seq1" / "sharp" / "002.png").unlink()
    done = run("gopro.py", gopro / "GOPRO_Large", gopro / "out")
    assert done.returncode == 1
    assert "test/seq1/sharp/002.png does not exist" in done.stderr
