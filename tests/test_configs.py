"""Sweep over every config: it parses, builds, learns, predicts, saves, and is listed."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn

from mmext.engine import import_host

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "configs").glob("*/*.py")
    if path.parent.name != "_base_"
)
METHODS = sorted({Path(config).parent.as_posix() for config in CONFIGS})


def one_per_model(configs: list[str]) -> list[str]:
    """The first of each group of configs that build the same model (and test it on other data)."""
    models, kept = [], []
    for config in configs:
        model = Config.fromfile(ROOT / config).model.to_dict()
        if model not in models:
            models.append(model)
            kept.append(config)
    return kept


def detection_inputs(cfg: Config) -> dict:
    """Two small images with boxes, of different shapes."""
    from mmdet.testing import demo_mm_inputs

    classes = cfg.model.bbox_head.num_classes
    # mmdet draws labels from 1 to classes - 1, so it has none for a head of one class.
    packed = demo_mm_inputs(2, [[3, 128, 128], [3, 96, 128]], num_classes=max(classes, 2))
    for sample in packed["data_samples"]:
        sample.gt_instances.labels.clamp_(max=classes - 1)
    return packed


def restoration_inputs(cfg: Config) -> dict:
    """Two small degraded images with their targets."""
    channels = cfg.model.generator.get("dd_in", 3)
    images = [torch.randint(0, 256, (channels, 32, 32), dtype=torch.uint8) for _ in range(2)]
    samples = [BaseDataElement(gt_img=image[:3]) for image in images]
    return dict(inputs=images, data_samples=samples)


# What a model of each host package takes.
INPUTS: dict[str, Callable[[Config], dict]] = {
    "mmdet": detection_inputs,
    "mmengine": restoration_inputs,
}


def check_detections(sample: BaseDataElement) -> None:
    instances = sample.pred_instances
    assert instances.bboxes.shape == (len(instances.scores), 4)
    assert instances.scores.isfinite().all()


def check_restored(sample: BaseDataElement) -> None:
    assert sample.pred_img.shape == (3, 32, 32)
    assert 0 <= sample.pred_img.min() <= sample.pred_img.max() <= 1


# What it predicts.
CHECKS: dict[str, Callable[[BaseDataElement], None]] = {
    "mmdet": check_detections,
    "mmengine": check_restored,
}


def without_pretrained(cfg: ConfigDict) -> None:
    """Drop every ``init_cfg`` that would fetch weights."""
    if isinstance(cfg, dict):
        for key, value in list(cfg.items()):
            if key == "init_cfg" and isinstance(value, dict) and value.get("type") == "Pretrained":
                cfg[key] = None
            else:
                without_pretrained(value)
    elif isinstance(cfg, list | tuple):
        for value in cfg:
            without_pretrained(value)


@pytest.fixture
def cfg(request) -> Config:
    """The config, in the scope that its tools would run it in."""
    cfg = Config.fromfile(ROOT / request.param)
    import_host(cfg.default_scope)
    without_pretrained(cfg.model)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        yield cfg


def build(cfg: Config) -> nn.Module:
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


@pytest.mark.parametrize("cfg", one_per_model(CONFIGS), indirect=True)
def test_builds_learns_predicts_and_saves(cfg):
    torch.manual_seed(0)
    model = build(cfg)
    packed = INPUTS[cfg.default_scope](cfg)

    # DistributedDataParallel asks which parameters learn before the first call of train().
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    model.train()
    assert [name for name, p in model.named_parameters() if p.requires_grad] == learning
    losses = model(**model.data_preprocessor(packed, training=True), mode="loss")
    total, log_vars = model.parse_losses(losses)
    total.backward()
    assert math.isfinite(total.item()), log_vars
    without_gradient = [
        name for name, p in model.named_parameters() if p.requires_grad and p.grad is None
    ]
    assert not without_gradient
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    model.eval()
    data = model.data_preprocessor(packed, training=False)
    with torch.no_grad():
        predicted = model(**data, mode="predict")
    assert len(predicted) == 2
    for sample in predicted:
        CHECKS[cfg.default_scope](sample)

    twin = build(cfg).eval()
    twin.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        for ours, theirs in zip(_raw(model, data), _raw(twin, data), strict=True):
            torch.testing.assert_close(ours, theirs)


def _raw(model: nn.Module, data: dict) -> list[torch.Tensor]:
    """Return the network's raw outputs, whatever they are nested in."""
    found, todo = [], [model(data["inputs"], mode="tensor")]
    while todo:
        value = todo.pop()
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            todo.extend(value)
    assert found
    return found


@pytest.mark.parametrize("config", CONFIGS)
def test_says_what_it_is(config):
    text = (ROOT / config).read_text()
    assert text.startswith('"""'), "a config begins with a docstring: paper, command, figure"
    assert f"tools/train.py {config}" in text, "the docstring gives the command that trains it"


@pytest.mark.parametrize("method", METHODS)
def test_method_is_listed(method):
    folder = ROOT / method
    metafile = yaml.safe_load((folder / "metafile.yml").read_text())
    listed = {model["Config"] for model in metafile["Models"]}
    assert listed == {config for config in CONFIGS if Path(config).parent.as_posix() == method}
    collections = {collection["Name"] for collection in metafile["Collections"]}
    assert {model["In Collection"] for model in metafile["Models"]} <= collections
    for collection in metafile["Collections"]:
        assert (ROOT / collection["README"]).exists()
        assert collection["Paper"]["URL"].startswith("https://")
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    assert f"{method}/metafile.yml" in index["Import"]


def test_model_index_lists_only_what_exists():
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    assert index["Import"] == [f"{method}/metafile.yml" for method in METHODS]


@pytest.mark.parametrize("config", CONFIGS)
def test_readme_of_the_method_mentions_it(config):
    readme = (ROOT / config).parent / "README.md"
    assert Path(config).name in readme.read_text()
