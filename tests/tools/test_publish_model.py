"""Publishing a checkpoint: what stays, how it is named, what is refused."""

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub

from mmext.checkpoints.safe_load import UnsafeCheckpointError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def publish_model(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "model_converters"))
    import publish_model

    return publish_model


@pytest.fixture
def trained(tmp_path) -> Path:
    """A checkpoint with everything that a training puts into one."""
    hub = MessageHub("test_publish_model")
    hub.update_scalar("train/loss", 1.0)
    path = tmp_path / "iter_2.pth"
    torch.save(
        dict(
            meta=dict(iter=2, cfg="model = dict()"),
            state_dict={"conv.weight": torch.arange(4.0)},
            optimizer=dict(state={0: torch.zeros(1000)}, param_groups=[]),
            param_schedulers=[],
            message_hub=hub.state_dict(),
        ),
        path,
    )
    return path


def test_keeps_weights_and_description(publish_model, trained, tmp_path):
    final = publish_model.publish(trained, tmp_path / "out" / "net.pth")
    assert final.name == f"net-{hashlib.sha256(final.read_bytes()).hexdigest()[:8]}.pth"
    assert list(final.parent.iterdir()) == [final]
    loaded = torch.load(final, weights_only=True)
    assert set(loaded) == {"meta", "state_dict"}
    assert loaded["meta"]["iter"] == 2
    torch.testing.assert_close(loaded["state_dict"]["conv.weight"], torch.arange(4.0))


class _Payload:
    def __reduce__(self):
        return (print, ("code of a stranger",))


def test_refuses_code_unless_told(publish_model, tmp_path, monkeypatch, capsys):
    source = tmp_path / "odd.pth"
    torch.save(dict(state_dict={}, extra=_Payload()), source)
    with pytest.raises(UnsafeCheckpointError, match="--trust-checkpoint"):
        publish_model.publish(source, tmp_path / "net.pth")
    assert "stranger" not in capsys.readouterr().out
    monkeypatch.setattr(
        sys,
        "argv",
        ["publish_model.py", str(source), str(tmp_path / "n.pth"), "--trust-checkpoint"],
    )
    publish_model.main()
    assert list(tmp_path.glob("n-*.pth"))


def test_says_what_a_file_without_weights_holds(publish_model, tmp_path):
    torch.save(dict(weights={}), tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"odd\.pth has no 'state_dict' \(it has 'weights'\)"):
        publish_model.publish(tmp_path / "odd.pth", tmp_path / "net.pth")
