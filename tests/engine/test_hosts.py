"""Importing the host packages without torchvision and without misleading lines."""

import importlib.util
import subprocess
import sys
import types

import pytest

from mmext.engine import torchvision_standin

HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


@pytest.mark.parametrize("scope", ["mmdet", "mmseg", "mmrotate"])
def test_import_host_is_silent_about_onedl(scope):
    result = run(
        f"from mmext.engine import import_host; import_host({scope!r}); import {scope}.models"
        if scope != "mmrotate"
        else "from mmext.engine import import_host; import_host('mmrotate')"
    )
    assert "OneDL" not in result.stdout + result.stderr


@pytest.mark.skipif(HAS_TORCHVISION, reason="torchvision is installed: no stand-in is made")
def test_mmrotate_models_import_without_torchvision():
    result = run(
        "from mmext.engine import import_host; import_host('mmrotate')\n"
        "from mmrotate.registry import MODELS\n"
        "print(MODELS.get('H2RBoxV2Detector') is not None or MODELS.get('GDLoss') is not None)\n"
        "import importlib.util, sys\n"
        "print('torchvision' in sys.modules)"
    )
    assert result.stdout.split() == ["True", "False"]


@pytest.mark.skipif(HAS_TORCHVISION, reason="torchvision is installed: no stand-in is made")
def test_standin_says_what_is_missing():
    with torchvision_standin():
        from torchvision import transforms
    with pytest.raises(ImportError, match="pip install torchvision"):
        transforms.functional.vflip(None)
    with pytest.raises(ImportError):
        import torchvision  # noqa: F401


def test_real_torchvision_wins(monkeypatch):
    real = types.ModuleType("torchvision")
    real.__spec__ = importlib.util.spec_from_loader("torchvision", loader=None)
    monkeypatch.setitem(sys.modules, "torchvision", real)
    with torchvision_standin():
        import torchvision

        assert torchvision is real
    assert sys.modules["torchvision"] is real
