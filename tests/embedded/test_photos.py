import hashlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmext.embedded import photos

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None,
    reason="the scikit-image package (the source of the photographs) is not installed",
)
CHELSEA = next(photo for photo in photos.PHOTOS if photo.name == "chelsea")
IHC = next(photo for photo in photos.PHOTOS if photo.name == "ihc")
CHECKSUMS = {
    "noise15": "101c5387fdabb28c",
    "noise25": "5e653567a467a5e3",
    "noise50": "b637545165923192",
    "poisson": "b95372354507dbe2",
    "blur": "78a7311bcd83ea3b",
    "rain": "4078a0ed726373be",
}


@pytest.fixture
def few(monkeypatch):
    """One photograph per split, cut small."""
    chosen = (replace(IHC, crop=200), replace(IHC, split="val", crop=64), replace(CHELSEA, crop=96))
    monkeypatch.setattr(photos, "PHOTOS", chosen)


def test_no_scene_is_in_two_splits():
    scenes = {}
    for photo in photos.PHOTOS:
        scenes.setdefault(photo.name.split("_")[0], set()).add(photo.split)
    assert all(len(splits) == 1 for splits in scenes.values())
    assert {split for splits in scenes.values() for split in splits} == {"train", "val", "test"}


@pytest.mark.parametrize("photo", photos.PHOTOS, ids=lambda photo: photo.name)
def test_sources_are_what_the_figures_were_measured_with(photo):
    if photos.find_package(photo.package) is None:
        pytest.skip(f"the package {photo.package}, which has {photo.file}, is not installed")
    picture = photos.read_photo(photo)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert min(picture.shape[:2]) >= photos.WINDOW


@needs_package
@pytest.mark.parametrize("degradation", photos.DEGRADATIONS)
def test_checksum(degradation):
    picture = photos.read_photo(CHELSEA)[:160, :160]
    degraded = photos.degrade(picture, degradation, "chelsea")
    assert hashlib.sha256(degraded.tobytes()).hexdigest()[:16] == CHECKSUMS[degradation]


@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_noise_has_the_deviation_of_its_name(sigma):
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = photos.degrade(grey, f"noise{sigma}", "grey").astype(float) - 128
    assert noise.std() == pytest.approx(sigma, rel=0.03)  # cut off at 2.5 deviations of 50
    assert noise.mean() == pytest.approx(0, abs=4 * sigma / noise.size**0.5)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02


def test_camera_noise_grows_with_the_light():
    spread = []
    for value in (40, 120, 220):
        grey = np.full((100, 100, 3), value, np.uint8)
        image = photos.degrade(grey, "poisson", "grey").astype(float) / 255
        spread.append((image**2.2).std())
    assert spread == sorted(spread)


def test_blur_moves_along_a_line():
    for length, angle in ((9.0, 0.0), (12.5, 0.7), (5.0, np.pi / 2)):
        kernel = photos._line_kernel(length, angle)
        assert kernel.sum() == pytest.approx(1)
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)
        y, x = np.mgrid[: len(kernel), : len(kernel)] - len(kernel) // 2
        along = np.cos(angle) * x + np.sin(angle) * y
        across = np.cos(angle) * y - np.sin(angle) * x
        assert (kernel * along**2).sum() == pytest.approx(length**2 / 12, rel=0.25)
        assert (kernel * across**2).sum() < 0.3


def test_rain_only_brightens():
    grey = np.full((100, 100, 3), 60, np.uint8)
    rainy = photos.degrade(grey, "rain", "grey")
    assert rainy.min() == 60
    assert 0.02 < (rainy > 80).mean() < 0.5


def test_names_decide_the_random_numbers():
    grey = np.full((20, 20, 3), 128, np.uint8)
    first = photos.degrade(grey, "noise25", "a")
    assert np.array_equal(first, photos.degrade(grey, "noise25", "a"))
    assert not np.array_equal(first, photos.degrade(grey, "noise25", "b"))


def test_windows_cover_the_photograph():
    seen = np.zeros((500, 741), bool)
    for top, left, bottom, right in photos.windows(500, 741, "train"):
        assert (bottom - top, right - left) == (photos.WINDOW, photos.WINDOW)
        seen[top:bottom, left:right] = True
    assert seen.all()
    assert list(photos.windows(500, 741, "test")) == [(0, 0, 500, 741)]


@needs_package
def test_pairs_on_disk(few, tmp_path):
    root = photos.prepare(tmp_path / "photos")
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["counts"] == {"train": 4, "val": 1, "test": 1}
    original = photos.read_photo(photos.PHOTOS[0])
    for name in ("ihc_0_0", "ihc_0_40", "ihc_40_0", "ihc_40_40"):
        top, left = map(int, name.split("_")[1:])
        clean = cv2.imread(str(root / "train" / "clean" / f"{name}.png"))
        np.testing.assert_array_equal(clean, original[top : top + 160, left : left + 160])
        for degradation in photos.DEGRADATIONS:
            picture = cv2.imread(str(root / "train" / degradation / f"{name}.png"))
            assert picture.shape == clean.shape
            assert not np.array_equal(picture, clean)
    noisy = cv2.imread(str(root / "test" / "noise25" / "chelsea.png"))
    expected = photos.degrade(photos.read_photo(photos.PHOTOS[2]), "noise25", "chelsea")
    np.testing.assert_array_equal(noisy, expected)
    for words in ("NASA", "CC0", "CC BY 2.0", "Middlebury"):
        assert words in (root / "ATTRIBUTION.txt").read_text()


@needs_package
def test_second_call_changes_nothing_and_damage_is_mended(few, tmp_path):
    root = photos.prepare(tmp_path / "photos")
    manifest = root / "manifest.json"
    before = manifest.stat().st_mtime_ns
    photos.prepare(root)
    assert manifest.stat().st_mtime_ns == before
    lost = next((root / "train" / "rain").glob("*.png"))
    lost.unlink()
    photos.prepare(root)
    assert lost.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@needs_package
def test_scikit_learn_adds_two_test_photographs(monkeypatch):
    found = {package: Path("/") for package in ("skimage", "sklearn")}
    monkeypatch.setattr(photos, "find_package", found.get)
    with_both = photos.available_photos()
    del found["sklearn"]
    names = [photo.name for photo in with_both if photo not in photos.available_photos()]
    assert names == ["china", "flower"]


def test_foreign_folder_is_left_alone(few, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="remove it or name another folder"):
        photos.prepare(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_missing_package_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(photos, "find_package", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install scikit-image==0\.26\.0"):
        photos.prepare(tmp_path / "photos")
    assert not list(tmp_path.iterdir())


def test_changed_source_is_refused_and_nothing_is_left(few, monkeypatch, tmp_path):
    (tmp_path / "package" / "data").mkdir(parents=True)
    (tmp_path / "package" / "data" / "ihc.png").write_bytes(b"other")
    monkeypatch.setattr(photos, "find_package", lambda name: tmp_path / "package")
    with pytest.raises(ValueError, match=r"ihc\.png is another file: its SHA-256 is"):
        photos.prepare(tmp_path / "photos")
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


@needs_package
def test_command_names_a_folder_in_use(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    tool = Path(__file__).parents[2] / "tools" / "dataset_converters" / "photos.py"
    run = subprocess.run(
        [sys.executable, tool, "--out", tmp_path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "photos: " in run.stderr
