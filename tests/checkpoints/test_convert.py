import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmext.checkpoints import UnsafeCheckpointError
from mmext.checkpoints.convert import ConversionError, convert_checkpoint
from mmext.checkpoints.convert_rules import rename
from mmext.registry import MODELS

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "centernetpp" / "centernetpp-fast_r50_fpn-gn_4x_coco.py"


def official_head(prefix: str = "bbox_head.") -> dict[str, torch.Tensor]:
    """Tensors with the names and sizes of the official real-time head, each with its own value."""
    sizes = json.loads((ROOT / "tests" / "data" / "centernetpp_official_head.json").read_text())
    return {
        prefix + name: torch.full(size, float(i)) for i, (name, size) in enumerate(sizes.items())
    }


def official_model() -> dict[str, torch.Tensor]:
    """A whole official checkpoint: backbone and neck have today's names."""
    cfg = Config.fromfile(CONFIG)
    init_default_scope("mmdet")
    state_dict = MODELS.build(cfg.model).state_dict()
    rest = {k: v for k, v in state_dict.items() if not k.startswith("bbox_head.")}
    return rest | official_head()


@pytest.fixture
def write(tmp_path):
    def save(content) -> Path:
        torch.save(content, tmp_path / "source.pth")
        return tmp_path / "source.pth"

    return save


@pytest.mark.parametrize("prefix", ["", "module."])
def test_whole_checkpoint_loads_strictly(write, tmp_path, prefix):
    official = {prefix + name: tensor for name, tensor in official_model().items()}
    source = write(dict(state_dict=official, meta=dict(CLASSES=("a", "b"), config="...")))
    target = tmp_path / "new" / "converted.pth"
    convert_checkpoint("centernetpp", source, target, config=CONFIG)
    checkpoint = torch.load(target, weights_only=True)
    assert checkpoint["meta"]["dataset_meta"] == dict(classes=("a", "b"))
    assert "config" not in checkpoint["meta"]
    model = MODELS.build(Config.fromfile(CONFIG).model)
    model.load_state_dict(checkpoint["state_dict"], strict=True)
    head = official_head()
    same = {
        "branches.br.cls_convs.1.gn.weight": "br_cls_convs.1.bn.weight",
        "branches.tl.reg_convs.0.gn.bias": "tl_reg_convs.0.gn.bias",
        "branches.tl.reg_convs.1.conv.conv_offset.weight": "tl_reg_convs.1.conv.conv_offset.weight",
        "branches.tl.pts_refine_out.bias": "pycenter_tl_pts_refine_out.bias",
        "branches.br.pts_init_conv.weight": "pycenter_br_pts_init_conv.weight",
        "sem_embedding.gn.weight": "pycenter_sem_embedding.gn.weight",
    }
    for ours, theirs in same.items():
        value = model.bbox_head.get_parameter(ours).flatten()[0]
        assert value == head[f"bbox_head.{theirs}"].flatten()[0]
    assert [p.name for p in target.parent.iterdir()] == ["converted.pth"]


def test_head_alone(write, tmp_path):
    converted = convert_checkpoint(
        "centernetpp", write(official_head(prefix="")), tmp_path / "head.pth", config=CONFIG
    )
    assert len(converted) == 68
    model = MODELS.build(Config.fromfile(CONFIG).model)
    model.bbox_head.load_state_dict(converted, strict=True)


@pytest.mark.parametrize(
    "lost", ["bbox_head.pycenter_sem_out.bias", "bbox_head.br_cls_convs.1.bn.bias"]
)
def test_a_missing_tensor_is_named(write, tmp_path, lost):
    state_dict = official_head()
    del state_dict[lost]
    with pytest.raises(ConversionError) as error:
        convert_checkpoint("centernetpp", write(state_dict), tmp_path / "out.pth")
    assert lost.split(".")[1] in str(error.value)
    assert not (tmp_path / "out.pth").exists()


def test_checkpoint_of_another_model(write, tmp_path):
    other = official_head() | {"bbox_head.rep_out.weight": torch.zeros(1)}
    with pytest.raises(ConversionError, match=r"unknown tensor: bbox_head\.rep_out\.weight"):
        convert_checkpoint("centernetpp", write(other), tmp_path / "out.pth")


def test_shapes_and_neck_are_checked_against_the_config(write, tmp_path):
    state_dict = official_model()
    state_dict["bbox_head.pycenter_sem_out.bias"] = torch.zeros(20)
    del state_dict["neck.fpn_convs.4.conv.weight"]
    state_dict["neck.extra"] = torch.zeros(1)
    with pytest.raises(ConversionError) as error:
        convert_checkpoint("centernetpp", write(state_dict), tmp_path / "out.pth", config=CONFIG)
    message = str(error.value)
    assert "shape of bbox_head.sem_out.bias: (20,) in the file, (80,) in the model" in message
    assert "missing tensor: neck.fpn_convs.4.conv.weight" in message
    assert "unexpected tensor: neck.extra" in message
    assert "3 mismatches" in message


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {"a": 1}}])
def test_what_is_no_state_dict_is_refused(write, tmp_path, content):
    with pytest.raises(ConversionError, match="no state dict"):
        convert_checkpoint("centernetpp", write(content), tmp_path / "out.pth")


def test_unknown_family(tmp_path):
    with pytest.raises(ConversionError, match="centernetpp"):
        convert_checkpoint("centernet--", tmp_path / "no.pth", tmp_path / "out.pth")


def test_unsafe_files_need_trust(write, tmp_path):
    source = write(dict(state_dict=official_head(), meta=dict(path=Path("x"))))
    with pytest.raises(UnsafeCheckpointError, match="--trust-checkpoint"):
        convert_checkpoint("centernetpp", source, tmp_path / "out.pth")
    convert_checkpoint("centernetpp", source, tmp_path / "out.pth", trust=True)


def test_two_tensors_of_one_name():
    tensors = {"a.bn": torch.zeros(1), "a.gn": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"a\.gn"):
        rename(tensors, [(r"(.*)\.(?:bn|gn)", r"\1.gn")])


def test_a_failed_write_leaves_nothing(write, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    source = write(official_head())
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setattr("mmext.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        convert_checkpoint("centernetpp", source, target / "out.pth")
    assert list(target.iterdir()) == []


def test_command_line(write, tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "convert_checkpoint.py"), "centernetpp"]
    source, target = write(official_head()), tmp_path / "out.pth"
    done = subprocess.run([*command, source, target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "68 tensors" in done.stdout
    target.unlink()
    failed = subprocess.run(
        [*command, write({"x": torch.zeros(1)}), target], capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert "unknown tensor: x" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not target.exists()
