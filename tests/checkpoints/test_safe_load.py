"""Untrusted checkpoints are read without running what they carry."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import load_checkpoint

from mmext.checkpoints import UnsafeCheckpointError, install_safe_loading, load_untrusted


class Intruder:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    file = tmp_path / "evil.pth"
    torch.save(dict(state_dict=dict(w=torch.ones(2)), extra=Intruder(tmp_path / "pwned")), file)
    return file


@pytest.fixture
def safe_mmengine(monkeypatch):
    """Install safe loading in mmengine for one test only."""
    for name in ("_safe_torch_load", "load_url"):
        monkeypatch.setattr(mmengine_checkpoint, name, getattr(mmengine_checkpoint, name))
    install_safe_loading()


def test_plain_checkpoint_loads(tmp_path):
    file = tmp_path / "a.pth"
    torch.save(dict(state_dict=dict(w=torch.arange(3.0)), meta=dict(epoch=2)), file)
    loaded = load_untrusted(file)
    assert torch.equal(loaded["state_dict"]["w"], torch.arange(3.0))
    assert loaded["meta"] == dict(epoch=2)


def test_mmengine_checkpoint_loads(tmp_path):
    """mmengine's own files hold HistoryBuffers and numpy scalars; a bare safe load refuses them."""
    file = tmp_path / "a.pth"
    buffer = HistoryBuffer()
    buffer.update(1.5)
    torch.save(dict(message_hub=dict(loss=buffer, lr=np.float64(0.1))), file)
    assert load_untrusted(file)["message_hub"]["loss"].current() == 1.5


def test_code_is_refused_and_the_flag_named(evil, tmp_path):
    with pytest.raises(UnsafeCheckpointError, match="--trust-checkpoint") as caught:
        load_untrusted(evil)
    assert str(evil) in str(caught.value)
    assert "mkdir" in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def test_trust_is_the_users_choice(evil, tmp_path):
    load_untrusted(evil, trust=True)
    assert (tmp_path / "pwned").exists()


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none\\.pth does not exist"):
        load_untrusted(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut off"])
def test_damaged_file_is_named(tmp_path, content):
    file = tmp_path / "broken.pth"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.pth is not a readable torch checkpoint"):
        load_untrusted(file)


def test_truncated_checkpoint_is_named(tmp_path):
    file = tmp_path / "cut.pth"
    torch.save(dict(w=torch.zeros(1000)), file)
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="not a readable torch checkpoint"):
        load_untrusted(file)


@pytest.mark.usefixtures("safe_mmengine")
def test_mmengine_refuses_local_files(evil, tmp_path):
    with pytest.raises(UnsafeCheckpointError):
        load_checkpoint(torch.nn.Linear(1, 1), str(evil))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.usefixtures("safe_mmengine")
@pytest.mark.parametrize("url", ["https://example.org/evil.pth", "openmmlab://resnet50_gn"])
def test_mmengine_refuses_downloads(evil, tmp_path, monkeypatch, url):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def download(url, target, **kwargs):
        Path(target).write_bytes(evil.read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    names = {"resnet50_gn": "https://example.org/evil.pth"}
    monkeypatch.setattr(mmengine_checkpoint, "get_external_models", lambda: names)
    with pytest.raises(UnsafeCheckpointError):
        load_checkpoint(torch.nn.Linear(1, 1), url)
    assert not (tmp_path / "pwned").exists()
