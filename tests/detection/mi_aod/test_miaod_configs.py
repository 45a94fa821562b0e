"""The models and data sets that MI-AOD's configs start from."""

import fnmatch

import pytest
import torch
from mmdet.datasets import VOCDataset
from mmdet.registry import TRANSFORMS
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, init_default_scope
from tiny_miaod import two_labeled, unlabeled

from mmext.registry import MODELS


def load(repo_root, kind: str, name: str) -> Config:
    init_default_scope("mmdet")
    return Config.fromfile(repo_root / "configs" / "_base_" / kind / f"{name}.py")


def test_step_of_the_small_model(repo_root):
    """With both kinds of images; the others are built by the sweep over all configs."""
    torch.manual_seed(0)
    cfg = load(repo_root, "models", "miaod_efflite0").model
    cfg.backbone.init_cfg = None
    detector = MODELS.build(cfg)
    detector.init_weights()
    inputs = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)] * 2
    samples = [two_labeled()[0], *unlabeled(count=1)]
    data = detector.data_preprocessor(dict(inputs=inputs, data_samples=samples), training=True)
    detector.bbox_head.set_stage("min")
    loss, found = detector.train().parse_losses(detector(**data, mode="loss"))
    loss.backward()
    assert loss.isfinite()
    assert {"loss_cls", "loss_img_cls", "loss_dis_min", "loss_img_cls_pseudo"} <= found.keys()
    grads = {n: p.grad for n, p in detector.named_parameters() if p.requires_grad}
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())
    assert any(grad.any() for n, grad in grads.items() if n.startswith("backbone."))

    detector.eval()
    for sample in samples:
        sample.set_metainfo(dict(scale_factor=(1.0, 1.0)))
    with torch.no_grad():
        feats = detector.extract_feat(data["inputs"])
        assert detector.bbox_head.image_scores(feats).gt(0).all()
        assert len(detector.bbox_head.predict(feats, samples)) == 2


@pytest.mark.parametrize(
    ("schedule", "name", "order", "passes"),
    [
        ("miaod_retinanet", "retinanet_r50_fpn", "min max", 26),
        ("miaod_retinanet_paper", "retinanet_r50_fpn", "max min", 26),
        ("miaod_ssd300", "ssd300", "min max", 304),
    ],
)
def test_phases_of_a_cycle(repo_root, schedule, name, order, passes):
    phases = load(repo_root, "schedules", schedule).train_cfg.phases
    assert [p.stage for p in phases] == f"label {order} label {order} label".split()
    assert sum(p.epochs * p.repeat for p in phases) == passes
    cfg = load(repo_root, "models", f"miaod_{name}").model
    cfg.backbone.init_cfg = None
    with torch.device("meta"):
        names = [n for n, _ in MODELS.build(cfg).named_parameters()]
    learning = {}
    for phase in phases[1:3]:
        chosen: set[str] = set()
        for pattern in phase.train:
            fitting = set(fnmatch.filter(names, pattern.removeprefix("!")))
            assert fitting, pattern
            chosen = chosen - fitting if pattern.startswith("!") else chosen | fitting
        learning[phase.stage] = chosen
    head = {n for n in names if n.startswith("bbox_head.")}
    boxes = {n for n in head if ".reg_convs." in n or ".retina_reg." in n}
    mil = {n for n in head if ".f_mil_" in n}
    features = set(names) - head
    if schedule.endswith("paper"):
        assert learning == {"max": head, "min": features | mil}
    else:
        assert learning == {"max": head - boxes - mil, "min": features | boxes | mil}


def test_published_sizes(repo_root):
    retina, ssd = (
        load(repo_root, "models", f"miaod_{n}").model for n in ("retinanet_r50_fpn", "ssd300")
    )
    for cfg in (retina, ssd):
        cfg.backbone.init_cfg = None
    with torch.device("meta"):
        head, ssd_head = (MODELS.build(cfg).bbox_head for cfg in (retina, ssd))
    for prefix in ("", "f_2_", "f_mil_"):
        assert head.get_submodule(f"{prefix}retina_cls").weight.shape == (180, 256, 3, 3)
        assert len(head.get_submodule(f"{prefix}cls_convs")) == 4
    assert head.retina_reg.weight.shape == (36, 256, 3, 3)
    assert ssd_head.f_mil_cls_convs[1][0].weight.shape == (126, 1024, 3, 3)
    assert ssd_head.prior_generator.base_sizes == [30, 60, 111, 162, 213, 264]


@pytest.fixture
def voc(tmp_path):
    """Two years of one image: large, small and difficult objects, and one without any."""

    def write(year: int, number: str, objects: str) -> None:
        root = tmp_path / f"VOC{year}"
        for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "Annotations" / f"{number}.xml").write_text(
            "<annotation><size><width>200</width><height>100</height><depth>3</depth></size>"
            f"{objects}</annotation>"
        )
        for split in ("trainval", "test"):
            with (root / "ImageSets" / "Main" / f"{split}.txt").open("a") as file:
                file.write(f"{number}\n")

    def found(name: str, side: int, difficult: int = 0) -> str:
        return (
            f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>11</xmin>"
            f"<ymin>21</ymin><xmax>{11 + side}</xmax><ymax>{21 + side}</ymax></bndbox></object>"
        )

    write(2007, "000005", found("dog", 60) + found("cat", 10) + found("cat", 50, 1))
    write(2012, "2008_000002", "")
    return tmp_path


@pytest.mark.parametrize("name", ["voc0712_detection", "voc0712_ssd300"])
def test_voc_keeps_small_objects_and_empty_images(repo_root, voc, name):
    cfg = load(repo_root, "datasets", name)
    for part in cfg.train_dataloader.dataset.datasets:
        part.data_root, part.pipeline = str(voc), []
    pool = DATASETS.build(cfg.train_dataloader.dataset)
    infos = [pool.get_data_info(i) for i in range(len(pool))]
    assert [info["img_id"] for info in infos] == ["000005", "2008_000002"]
    assert [i["ignore_flag"] for i in infos[0]["instances"]] == [0, 0, 1]
    assert infos[0]["instances"][1]["bbox"] == [10, 20, 20, 30]
    assert infos[1]["instances"] == []

    tested = DATASETS.build({**cfg.val_dataloader.dataset, "data_root": str(voc), "pipeline": []})
    assert isinstance(tested, VOCDataset)
    assert len(tested) == 1
    assert cfg.val_evaluator.eval_mode == "11points"
    assert tested.metainfo["dataset_type"] == "VOC2007"


@pytest.mark.parametrize("boxes", [0, 2])
def test_pipeline_of_ssd_takes_images_without_boxes(repo_root, boxes):
    """Unlabelled images have none, and cropping must not look for any."""
    import numpy as np

    cfg = load(repo_root, "datasets", "voc0712_ssd300")
    steps = [TRANSFORMS.build(ConfigDict(step)) for step in cfg.train_pipeline[1:]]
    instances = [dict(bbox=[10, 20, 60, 80], bbox_label=i, ignore_flag=0) for i in range(boxes)]
    image = np.full((100, 200, 3), 100, dtype=np.float32)
    results = dict(
        img=image,
        img_shape=(100, 200),
        ori_shape=(100, 200),
        instances=instances,
        img_id=0,
        img_path="0.jpg",
    )
    for step in steps:
        results = step(results)
    assert results["inputs"].shape == (3, 300, 300)
    assert len(results["data_samples"].gt_instances) <= boxes
