"""``tools/restore.py``: sizes and depths are kept, faulty files are reported, inputs are safe."""

import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from tiny_restoration import smooth_picture
from torch import nn


@MODELS.register_module(force=True)
class Brighten(nn.Module):
    """Adds a learned amount to each channel of an RGB image."""

    def __init__(self) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor([0.1, 0.0, -0.1]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.amount.view(1, 3, 1, 1)


@pytest.fixture
def tool(load_tool):
    return load_tool("restore.py")


@pytest.fixture
def run(tool, tmp_path, monkeypatch):
    """A function that runs the tool in this process and returns its exit message, if any."""
    cfg = Config(dict(model=dict(type="mmext.ImageRestorer", generator=dict(type="Brighten"))))
    cfg.dump(tmp_path / "brighten.py")
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "brighten.pth")

    def call(source, target, *options):
        paths = [tmp_path / "brighten.py", tmp_path / "brighten.pth", source, target]
        arguments = ["restore.py", *map(str, paths), *map(str, options), "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", arguments)
        try:
            tool.main()
        except SystemExit as stop:
            return stop.code
        return None

    return call


@pytest.fixture
def picture():
    return smooth_picture(np.random.default_rng(0), 30, 50) // 2 + 60


def brightened(image, peak):
    amount = np.array([-0.1, 0, 0.1]) * peak  # BGR
    return np.round(image.astype(float) + amount).astype(int)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_keeps_size_and_depth(run, tmp_path, picture, dtype):
    image = picture.astype(dtype) * (1 if dtype == np.uint8 else 257)
    cv2.imwrite(str(tmp_path / "in.png"), image)
    assert run(tmp_path / "in.png", tmp_path / "out.png", "--tile", 16, "--overlap", 8) is None
    result = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert result.dtype == dtype
    expected = brightened(image, np.iinfo(dtype).max)
    np.testing.assert_allclose(result.astype(int), expected, atol=1)


def test_grey_stays_grey_and_transparency_passes(run, tmp_path, picture):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    cv2.imwrite(str(folder / "grey.png"), picture[..., 0])
    alpha = np.concatenate([picture, picture[..., :1] * 3], axis=2)
    cv2.imwrite(str(folder / "sub" / "alpha.png"), alpha)
    assert run(folder, tmp_path / "out") is None
    grey = cv2.imread(str(tmp_path / "out" / "grey.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(grey.astype(int), picture[..., 0].astype(int), atol=1)
    restored = cv2.imread(str(tmp_path / "out" / "sub" / "alpha.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(restored[..., 3], alpha[..., 3])
    np.testing.assert_allclose(restored[..., :3].astype(int), brightened(picture, 255), atol=1)


@pytest.fixture
def mixed(tmp_path, picture):
    """A folder of two good images and a broken one."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("a.png", "c.jpg"):
        cv2.imwrite(str(folder / name), picture)
    (folder / "b.png").write_bytes(b"<html>")
    return folder


def test_unreadable_files_are_skipped_and_counted(run, mixed, tmp_path, capsys):
    message = run(mixed, tmp_path / "out")
    assert message.startswith("1 skipped:")
    assert "b.png is no readable image" in message
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.jpg"]
    out = capsys.readouterr()
    assert "[3/3]" in out.out
    assert "2 of 3 images restored" in out.out
    assert "[2/3]" in out.err


def test_strict_stops(run, mixed, tmp_path):
    message = run(mixed, tmp_path / "out", "--strict")
    assert message.startswith(f"error: {mixed / 'b.png'} is no readable image")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_what_the_target_cannot_hold_names_the_source(run, tmp_path, picture):
    source = tmp_path / "in.png"
    cv2.imwrite(str(source), picture.astype(np.uint16) * 257)
    message = run(source, tmp_path / "out.jpg")
    assert message.startswith(f"1 skipped:\n{source}: ")
    assert "a .jpg file cannot hold uint16" in message
    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.parametrize("target", ["mixed", "mixed/../mixed"])
def test_inputs_are_never_overwritten(run, mixed, tmp_path, target):
    before = {path.name: path.read_bytes() for path in mixed.iterdir()}
    assert "would overwrite its source" in run(mixed, tmp_path / target)
    assert "would overwrite its source" in run(mixed / "a.png", mixed / "a.png")
    assert "would overwrite its source" in run(mixed / "a.png", mixed)
    assert {path.name: path.read_bytes() for path in mixed.iterdir()} == before


def test_results_are_upright(run, tmp_path, picture):
    """A camera notes how it was held; the result has no such note, so it is turned."""
    content = cv2.imencode(".jpg", picture)[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    size = (len(exif) + 2).to_bytes(2, "big")
    (tmp_path / "in.jpg").write_bytes(content[:2] + b"\xff\xe1" + size + exif + content[2:])
    assert run(tmp_path / "in.jpg", tmp_path / "out.png") is None
    assert cv2.imread(str(tmp_path / "out.png")).shape == (50, 30, 3)


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_video(run, tmp_path, suffix):
    codec, lossy = dict(avi=("MJPG", 6), mp4=("mp4v", 12))[suffix]
    file = str(tmp_path / f"in.{suffix}")
    writer = cv2.VideoWriter(file, cv2.VideoWriter_fourcc(*codec), 12.0, (64, 48))
    for value in (60, 120, 180):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    assert run(file, tmp_path / f"out.{suffix}") is None
    result = cv2.VideoCapture(str(tmp_path / f"out.{suffix}"))
    assert result.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    for value in (60, 120, 180):
        found, frame = result.read()
        assert found
        expected = [value - 25, value, value + 25]
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), expected, atol=lossy)
    assert not result.read()[0]
    assert not list(tmp_path.glob(".part-*"))


def test_broken_video_leaves_nothing(run, tmp_path):
    (tmp_path / "in.mp4").write_bytes(b"<html>")
    assert "in.mp4 cannot be restored" in run(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert not list(tmp_path.glob("*out.mp4"))


def test_faults_are_named(run, tmp_path, picture, mixed):
    assert "none.png does not exist" in run(tmp_path / "none.png", tmp_path / "out.png")
    assert "is a folder" in run(mixed, tmp_path / "out.png")
    (tmp_path / "empty").mkdir()
    assert "has no images" in run(tmp_path / "empty", tmp_path / "out")
    torch.save(dict(state_dict=dict(other=torch.zeros(1))), tmp_path / "brighten.pth")
    message = run(mixed, tmp_path / "out")
    assert "brighten.pth does not fit" in message
    assert not (tmp_path / "out").exists()
