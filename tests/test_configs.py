"""Sweep over every config: it parses, builds, learns, predicts, saves, and is listed."""

import copy
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn

from mmext.engine import import_host
from mmext.engine.preflight import walk

pytestmark = pytest.mark.sweep
ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "configs").glob("*/*.py")
    if path.parent.name != "_base_"
)
METHODS = sorted({Path(config).parent.as_posix() for config in CONFIGS})


def num_classes(cfg: Config) -> int:
    """Return how many classes the heads tell apart."""
    return next(node["num_classes"] for _, node in walk(cfg.model, "") if "num_classes" in node)


def detection_inputs(cfg: Config, size: int = 128) -> dict:
    """Two small images with boxes, of different shapes."""
    from mmdet.testing import demo_mm_inputs

    classes = num_classes(cfg)
    shapes = [[3, size, size], [3, size * 3 // 4, size]]
    fixed = [node["input_size"] for _, node in walk(cfg.model, "") if "input_size" in node]
    if fixed:  # SSD takes one size only
        shapes = [[3, fixed[0], fixed[0]]] * 2
    # mmdet draws labels from 1 to classes - 1, so it has none for a head of one class.
    packed = demo_mm_inputs(2, shapes, num_classes=max(classes, 2))
    for sample in packed["data_samples"]:
        sample.gt_instances.labels.clamp_(max=classes - 1)
    return packed


def rotated_inputs(cfg: Config) -> dict:
    """Two smaller images, since there are many of these configs, with turned boxes."""
    from mmrotate.structures.bbox import RotatedBoxes

    packed = detection_inputs(cfg, size=64)
    for sample in packed["data_samples"]:
        corners = sample.gt_instances.bboxes
        centre, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        angle = torch.linspace(-0.7, 0.7, len(corners))[:, None]
        sample.gt_instances.bboxes = RotatedBoxes(torch.cat((centre, sides, angle), 1))
    return packed


def restoration_inputs(cfg: Config) -> dict:
    """Two small degraded images with their targets."""
    channels = cfg.model.generator.get("dd_in", 3)
    images = [torch.randint(0, 256, (channels, 32, 32), dtype=torch.uint8) for _ in range(2)]
    samples = [BaseDataElement(gt_img=image[:3]) for image in images]
    return dict(inputs=images, data_samples=samples)


def segmentation_inputs(cfg: Config) -> dict:
    """A small image of each domain, two if there is only one; those of sources with labels."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    dataset = cfg.train_dataloader.dataset
    roles = {name: role for role in ("source", "target") for name in dataset[f"{role}s"]}
    packed = dict(inputs={}, data_samples={})
    for name, role in roles.items():
        size = (2 if len(roles) == 1 else 1, 3, 64, 64)
        packed["inputs"][name] = [*torch.randint(0, 256, size, dtype=torch.uint8)]
        meta = dict(role=role, ori_shape=(64, 64), img_shape=(64, 64))
        samples = [SegDataSample(metainfo=meta) for _ in range(size[0])]
        if role == "source":
            for sample in samples:
                labels = torch.randint(0, num_classes(cfg), (1, 64, 64))
                sample.gt_sem_seg = PixelData(data=labels)
        packed["data_samples"][name] = samples
    return packed


def indoor_inputs(cfg: Config) -> dict:
    """Two small rooms with three boxes each, and which points lie in them."""
    from mmengine.structures import InstanceData

    from mmext.detection3d.structures import Boxes3D, Det3DSample
    from mmext.ops import points_in_boxes

    columns = cfg.model.backbone.get("in_channels", 3)
    clouds, samples = [], []
    for scene in range(2):
        cloud = torch.rand(512, columns) * 4
        boxes = torch.tensor(
            [[1, 1, 1, 1, 1.5, 2, 0], [3, 1, 1, 1, 1, 2, 0], [2, 3, 2, 2, 1, 3, 0]]
        )
        inside = points_in_boxes(cloud[:, :3], boxes)
        sample = Det3DSample(metainfo=dict(sample_idx=f"room{scene}"))
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=Boxes3D(boxes), labels_3d=torch.randint(0, num_classes(cfg), (3,))
        )
        sample.gt_point_instances = torch.where(inside.any(1), inside.int().argmax(1), -1)
        clouds.append(cloud)
        samples.append(sample)
    return dict(inputs=dict(points=clouds), data_samples=samples)


def task(cfg: Config) -> str:
    """Return the scope of a config, or what it is for where the scope is mmengine's own."""
    if cfg.default_scope == "mmengine":
        return "restoration" if "generator" in cfg.model else "indoor"
    return cfg.default_scope


# What a model of each task takes; restoration and indoor scenes need no host package.
INPUTS: dict[str, Callable[[Config], dict]] = {
    "mmdet": detection_inputs,
    "mmrotate": rotated_inputs,
    "mmseg": segmentation_inputs,
    "restoration": restoration_inputs,
    "indoor": indoor_inputs,
}


def without_domains(packed: dict) -> dict:
    """Return two images of any domain in one batch, as in tests."""
    if not isinstance(packed["data_samples"], dict):
        return packed
    return {
        key: [item for part in values.values() for item in part][:2]
        for key, values in packed.items()
    }


def check_detections(sample: BaseDataElement, box_dim: int = 4) -> None:
    instances = sample.pred_instances
    assert get_box_tensor(instances.bboxes).shape == (len(instances.scores), box_dim)
    assert instances.scores.isfinite().all()


def check_restored(sample: BaseDataElement) -> None:
    assert sample.pred_img.shape == (3, 32, 32)
    assert 0 <= sample.pred_img.min() <= sample.pred_img.max() <= 1


def check_segmented(sample: BaseDataElement) -> None:
    assert sample.pred_sem_seg.data.shape == (1, 64, 64)
    assert sample.seg_logits.data.isfinite().all()
    assert sample.pred_sem_seg.data.max() < len(sample.seg_logits.data)


def check_indoor(sample: BaseDataElement) -> None:
    instances = sample.pred_instances_3d
    assert instances.bboxes_3d.tensor.shape == (len(instances.scores_3d), 7)
    assert instances.bboxes_3d.tensor.isfinite().all()
    assert instances.scores_3d.isfinite().all()


# What it predicts.
CHECKS: dict[str, Callable[[BaseDataElement], None]] = {
    "mmdet": check_detections,
    "mmrotate": partial(check_detections, box_dim=5),
    "mmseg": check_segmented,
    "restoration": check_restored,
    "indoor": check_indoor,
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


def with_few_proposals(cfg: ConfigDict) -> None:
    """Let two-stage detectors look at no more boxes than a small image needs."""
    for _, node in walk(cfg, ""):
        for key, most in (("nms_pre", 200), ("max_per_img", 200), ("num", 64)):
            if isinstance(node.get(key), int):
                node[key] = min(node[key], most)


def with_few_seeds(cfg: ConfigDict) -> None:
    """Let backbones of points have no more seeds than a small scene has points."""
    for _, node in walk(cfg, ""):
        if node.get("type") == "mmext.PointNet2":
            node["num_points"] = (128, 64, 32, 16)
        if "num_candidates" in node:
            node["num_candidates"] = min(node["num_candidates"], 32)


def with_shallow_members(cfg: ConfigDict) -> None:
    """Let ensembles of ResNets have fewer layers; a ResNet-101 learns in other configs."""
    for _, node in walk(cfg, ""):
        for member in node.get("members", {}).values():
            if "depth" in member.backbone:
                member.backbone.depth = 50


def with_shallow_experts(cfg: ConfigDict) -> None:
    """Let models of many ResNets have fewer layers; one of a single ResNet-101 learns elsewhere."""
    if "targets" in cfg and "depth" in cfg.segmentor.backbone:
        cfg.segmentor.backbone.depth = 50


@pytest.fixture
def cfg(request) -> Config:
    """The config, in the scope that its tools would run it in."""
    cfg = Config.fromfile(ROOT / request.param)
    import_host(cfg.default_scope)
    without_pretrained(cfg.model)
    with_few_proposals(cfg.model)
    with_few_seeds(cfg.model)
    with_shallow_members(cfg.model)
    with_shallow_experts(cfg.model)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        yield cfg


def build(cfg: Config) -> nn.Module:
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def structure(cfg: Config) -> str:
    """Describe a model, but for classes, names of targets, and how its losses are weighed."""
    model = copy.deepcopy(cfg.model)
    if "targets" in model:  # however many there are, each has the same parts
        model.pop("targets")
    for _, node in walk(model, ""):
        for key in ("num_classes", "loss_weight"):
            node.pop(key, None)
        if "members" in node:
            node["members"] = list(node["members"].values())
    return cfg.default_scope + json.dumps(model.to_dict(), sort_keys=True, default=str)


CHECKED: set[str] = set()


@pytest.mark.parametrize("cfg", CONFIGS, indirect=True)
def test_builds_learns_predicts_and_saves(cfg):
    # Recipes of one detector for several data sets have models that differ in the classes only;
    # test_classes_are_those_of_the_data looks at these.
    described = structure(cfg)
    if described in CHECKED:
        return
    torch.manual_seed(0)
    model = build(cfg)
    packed = INPUTS[task(cfg)](cfg)

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
    data = model.data_preprocessor(without_domains(packed), training=False)
    with torch.no_grad():
        predicted = model(**data, mode="predict")
    assert len(predicted) == 2
    for sample in predicted:
        CHECKS[task(cfg)](sample)

    twin = MODELS.build(cfg.model).eval()
    twin.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        for ours, theirs in zip(_raw(model, data), _raw(twin, data), strict=True):
            torch.testing.assert_close(ours, theirs)
    CHECKED.add(described)


@pytest.mark.parametrize("cfg", CONFIGS, indirect=True)
def test_classes_are_those_of_the_data(cfg):
    heads = {node["num_classes"] for _, node in walk(cfg.model, "") if "num_classes" in node}
    if task(cfg) == "restoration":  # from images to images: there are no classes
        assert not heads
        return
    for split in ("train", "val", "test"):
        loaded = [node for _, node in walk(cfg[f"{split}_dataloader"].dataset, "")]
        if cfg.default_scope == "mmseg":  # one for each domain
            datasets = [node for node in loaded if "data_root" in node]
            # Pipelines may look into the folders of data that are not here.
            bare = dict(lazy_init=True, pipeline=[])
            built = [DATASETS.build({**node, **bare}) for node in datasets]
            assert built
            for dataset in built:
                assert heads == {len(dataset.metainfo["classes"])}, split
            continue
        datasets = [node for node in loaded if "ann_file" in node]
        assert datasets
        for dataset in datasets:  # several where sets are joined
            classes = DATASETS.build({**dataset, "lazy_init": True}).metainfo["classes"]
            if dataset.type == "HRSCDataset" and not dataset.get("classwise"):
                classes = ("ship",)  # known to it as soon as it has read its files
            assert heads == {len(classes)}, split


def _raw(model: nn.Module, data: dict) -> list[torch.Tensor]:
    """Return the network's raw outputs, whatever they are nested in."""
    # Two-stage detectors ask the samples for the shape of the image.
    found, todo = [], [model(**data, mode="tensor")]
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
