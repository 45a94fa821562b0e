"""The package as users get it: an sdist, the wheel built from it, installed away from the checkout.

Whatever runs in the installed package runs in a process of its own, in an empty folder.
"""

import email
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tiny_detection import write_coco

ROOT = Path(__file__).resolve().parents[1]
MIM = ROOT / "mmext" / ".mim"
# All that the compiled ops are made from.
OPS_SOURCES = [
    ROOT / "setup.py",
    *(path for path in (ROOT / "mmext" / "csrc").rglob("*") if path.is_file()),
]
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", ".mim", "build", "dist", "data", "work_dirs", "*.so", "*.egg-info",
    "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis",
)  # fmt: skip

# A stock mmdet config with three of mmext's parts, named by their prefix and nothing else.
STOCK_CONFIG = """
_base_ = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"
model = dict(
    backbone=dict(_delete_=True, type="mmext.EfficientNetLite", out_indices=(3, 4, 5)),
    neck=dict(in_channels=[40, 112, 320], out_channels=32, start_level=0),
    bbox_head=dict(
        num_classes=2,
        in_channels=32,
        feat_channels=32,
        stacked_convs=1,
        conv_cfg=dict(type="mmext.DCNv2"),
    ),
)
dataset = dict(
    type="CocoDataset",
    data_root={data!r},
    ann_file="annotations.json",
    data_prefix=dict(img="images"),
    metainfo=dict(classes=("red", "blue")),
    pipeline=[
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="Resize", scale=(64, 64)),
        dict(type="PackDetInputs"),
    ],
)
train_dataloader = dict(
    _delete_=True,
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dataset,
)
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=2, val_interval=100)
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
param_scheduler = []
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=2)
)
log_processor = dict(by_epoch=False)
"""


def python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Run Python in ``cwd`` with ``path`` first on its search path; return what it printed."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """A source distribution, made from a copy of the checkout."""
    base = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, base / "source", ignore=NOT_SOURCE)
    script = f"from setuptools import build_meta; build_meta.build_sdist({str(base)!r})"
    python("-c", script, cwd=base / "source")
    return next(base.glob("*.tar.gz"))


def compiled_ops() -> Path | None:
    """The extension of this checkout, unless a source is newer than it."""
    built = next((ROOT / "mmext").glob("_C*.so"), None)
    changed = max(path.stat().st_mtime for path in OPS_SOURCES)
    return built if built is not None and built.stat().st_mtime > changed else None


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """The wheel that pip builds from the sdist.

    Compiling the ops takes minutes. They were compiled from the same files when the checkout was
    installed, so they are laid where the build would leave them; if they are not at hand, or
    something has changed since, pip compiles them.
    """
    base = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(base, filter="data")
    source = next(base.glob("mmext-*"))
    pip = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    if (ops := compiled_ops()) is not None:
        python("setup.py", "build_py", cwd=source)
        (packages,) = source.glob("build/lib*/mmext")
        shutil.copy(ops, packages)
        pip.append("--config-settings=--build-option=--skip-build")
    python(*pip, "--wheel-dir", str(base), str(source), cwd=base)
    return next(base.glob("mmext-*.whl"))


@pytest.fixture(scope="module")
def prefix(wheel, tmp_path_factory) -> Path:
    """A folder that holds the installed wheel and nothing else."""
    base = tmp_path_factory.mktemp("prefix")
    pip = ["-m", "pip", "install", "--no-deps", "--no-index", "--no-compile"]
    python(*pip, "--target", str(base), str(wheel), cwd=base)
    return base


@pytest.fixture(params=["wheel", "clone"])
def installed(request) -> Path:
    """Where mmext is imported from: the installed wheel, then the checkout."""
    return request.getfixturevalue("prefix") if request.param == "wheel" else ROOT


@pytest.mark.packaging
def test_sdist_holds_what_the_build_needs(sdist):
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2]: member for member in archive if member.isfile()}
        contents = {
            name: archive.extractfile(files[name]).read()
            for name in (path.relative_to(ROOT).as_posix() for path in OPS_SOURCES)
        }
    assert len(contents) > 10
    for name, content in contents.items():
        assert content == (ROOT / name).read_bytes(), name
    names = set(files)
    assert {"pyproject.toml", "LICENSE", "README.md"} <= names
    assert "mmext/.mim/tools/train.py" in names


@pytest.mark.packaging
def test_wheel_holds_tools_configs_and_the_compiled_ops(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packed = {name.removeprefix("mmext/.mim/") for name in names if "/.mim/" in name}
    expected = {"model-index.yml"}
    for folder in ("configs", "tools"):
        expected |= {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and path.suffix in (".py", ".sh", ".yml", ".md")
        }
    assert expected <= packed
    assert [name for name in names if name.startswith("mmext/_C") and name.endswith(".so")]
    # Nothing beside the package, no sources of the ops, no caches.
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"mmext"}
    assert not [name for name in names if "csrc" in name or "__pycache__" in name]


@pytest.mark.packaging
def test_wheel_metadata_is_complete(wheel):
    with zipfile.ZipFile(wheel) as archive:
        path = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = email.message_from_bytes(archive.read(path))
        licences = [name for name in archive.namelist() if name.endswith("LICENSE")]
    from mmext import __version__

    assert metadata["Name"] == "mmext"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert licences
    assert metadata["Summary"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# mmext")
    needs = " ".join(metadata.get_all("Requires-Dist"))
    for name in ("torch", "mmengine", "mmcv", "mmdetection", "mmsegmentation", "mmrotate"):
        assert name in needs


@pytest.mark.packaging
def test_ops_run_compiled_from_the_prefix(prefix, tmp_path):
    script = f"""
import mmext, torch
from pathlib import Path
assert Path(mmext.__file__).is_relative_to({str(prefix)!r}), mmext.__file__
from mmext.ops import deform_conv2d
from mmext.ops._extension import LOADED
assert LOADED
out = deform_conv2d(
    torch.ones(1, 2, 5, 5), torch.zeros(1, 18, 5, 5), torch.ones(3, 2, 3, 3), padding=1
)
print(out.sum().item())
"""
    # 2 channels x 3 filters x (9 interior points of 9 taps, 12 edge ones of 6, 4 corners of 4).
    assert float(python("-W", "error", "-c", script, cwd=tmp_path, path=prefix)) == 6 * 169


@pytest.mark.packaging
def test_mmext_bases_resolve(installed, tmp_path):
    config = "centernetpp/centernetpp-fast_r50_fpn-gn_4x_coco.py"
    (tmp_path / "child.py").write_text(
        f'_base_ = "mmext::{config}"\nmodel = dict(bbox_head=dict(num_classes=7))\n'
    )
    script = """
import mmext
from mmengine.config import Config
from mmengine.hub import get_config
cfg = Config.fromfile("child.py")
assert cfg.model.bbox_head.num_classes == 7
assert "_scope_" not in cfg.pretty_text  # or mmdet's parts of it would not be found
print(cfg.model.type, get_config("mmext::%s").model.type)
"""
    if installed == ROOT and not MIM.exists():
        pytest.skip("the checkout is not installed (make env): mmengine finds configs through it")
    printed = python("-c", script % config, cwd=tmp_path, path=installed)
    assert printed.split() == ["mmext.CenterNetPlusPlus"] * 2


@pytest.mark.packaging
def test_mmdets_own_train_tool_trains_our_parts(installed, tmp_path):
    write_coco(tmp_path / "data")
    (tmp_path / "stock.py").write_text(STOCK_CONFIG.format(data=str(tmp_path / "data")))
    mmdet = Path(importlib.util.find_spec("mmdet").origin).parent
    tool = mmdet / ".mim" / "tools" / "train.py"
    python(str(tool), "stock.py", "--work-dir", "work", cwd=tmp_path, path=installed)
    assert (tmp_path / "work" / "iter_2.pth").exists()
    log = next((tmp_path / "work").glob("*/*.log")).read_text()
    assert "loss_centerness" in log
    assert "mmext.DCNv2" in log


@pytest.mark.packaging
@pytest.mark.parametrize(("compiler", "succeeds"), [("c++", True), ("false", False)])
def test_a_build_in_the_checkout_leaves_links(compiler, succeeds, tmp_path):
    """A copy of tools or configs left behind would hide every later edit of them."""
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    env = os.environ | {"CXX": compiler, "MMEXT_NO_EXT": str(int(succeeds))}
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "."]
    done = subprocess.run([*pip, "-w", tmp_path], cwd=source, env=env, capture_output=True)
    assert (done.returncode == 0) == succeeds, done.stderr[-3000:]
    mim = source / "mmext" / ".mim"
    assert {path.name for path in mim.iterdir() if path.is_symlink()} == {
        "configs", "model-index.yml", "tools",
    }  # fmt: skip


def test_importing_mmext_is_light(tmp_path):
    script = """
import sys
import mmext
heavy = ("torch", "torchvision", "cv2", "mmcv", "mmdet", "mmseg", "mmrotate", "matplotlib")
print([name for name in heavy if name in sys.modules])
"""
    assert python("-c", script, cwd=tmp_path, path=ROOT).strip() == "[]"
