"""Published configurations: the real-time ones in detail, the schedules and sizes of the full."""

from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmext.registry import MODELS

FOLDER = Path(__file__).parents[3] / "configs" / "centernetpp"
CONFIGS = sorted(FOLDER.glob("centernetpp-fast_*_coco.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config(path):
    torch.set_num_threads(1)  # many small operations: threads only wait for each other
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None  # the pretrained weights are a download
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    assert sum(p.numel() for p in model.bbox_head.parameters()) == pytest.approx(9.25e6, rel=1e-3)
    assert model.neck.num_outs == len(model.bbox_head.prior_generator.strides)

    samples = []
    for boxes in ([[10.0, 12.0, 70.0, 100.0], [60.0, 40.0, 120.0, 90.0]], []):
        boxes = torch.tensor(boxes).view(-1, 4)
        sample = DetDataSample(metainfo=dict(img_shape=(128, 128), scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)) + 78)
        samples.append(sample)
    images = [torch.randint(0, 256, (3, 128, 128), dtype=torch.uint8) for _ in samples]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)

    raw = model(data["inputs"], mode="tensor")
    assert len(raw) == 7
    assert raw[0][0].shape == (2, 80, 16, 16)
    losses, log = model.parse_losses(model(**data, mode="loss"))
    losses.backward()
    assert losses.isfinite()
    assert set(log) == {"loss", "loss_cls", "loss_pts_init", "loss_pts_refine", "loss_sem"}
    with torch.no_grad():
        results = model.eval()(**data, mode="predict")
    assert all(len(r.pred_instances) <= cfg.model.test_cfg.max_per_img for r in results)


@pytest.mark.parametrize(
    ("name", "epochs", "steps", "optimizer"),
    [
        ("centernetpp-fast_r50_fpn-gn_4x_coco", 36, [30, 34], "SGD"),
        ("centernetpp-fast_r50_fpn-gn-3lvl_4x_coco", 36, [30, 34], "SGD"),
        ("centernetpp-fast_r50_fpn-gn-3lvl_6x_coco", 72, [63, 69], "SGD"),
        ("centernetpp-fast_r50_fpn-gn-3lvl_6x-adamw_coco", 72, [63, 69], "AdamW"),
    ],
)
def test_schedule(name, epochs, steps, optimizer):
    cfg = Config.fromfile(FOLDER / f"{name}.py")
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.param_scheduler[1].milestones == steps
    assert cfg.param_scheduler[1].end == epochs
    assert cfg.optim_wrapper.optimizer.type == optimizer
    assert ("momentum" in cfg.optim_wrapper.optimizer) == (optimizer == "SGD")
    assert cfg.optim_wrapper.clip_grad.max_norm == 35
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (736, 512)


FULL = [
    ("r50_fpn-gn_1x", 12, [8, 11], 50),
    ("r50_fpn-gn_ms-2x", 24, [16, 22], 50),
    ("r101_fpn-gn_ms-2x", 24, [16, 22], 101),
    ("r101-dconv-c3-c5_fpn-gn_ms-2x", 24, [16, 22], 101),
    ("x101-64x4d_fpn-gn_ms-2x", 24, [16, 22], 101),
    ("x101-64x4d-dconv-c3-c5_fpn-gn_ms-2x", 24, [16, 22], 101),
    ("res2net101_fpn-gn_ms-2x", 24, [16, 22], 101),
    ("res2net101-dconv-c3-c5_fpn-gn_ms-2x", 24, [16, 22], 101),
    ("swin-l_fpn_ms-32e", 32, [21, 27], None),
]


@pytest.mark.parametrize(("name", "epochs", "steps", "depth"), FULL, ids=lambda v: str(v))
def test_recipe_of_the_full_head(name, epochs, steps, depth):
    cfg = Config.fromfile(FOLDER / f"centernetpp_{name}_coco.py")
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.param_scheduler[1].milestones == steps
    assert cfg.param_scheduler[1].end == epochs
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.model.backbone.get("depth") == depth
    assert cfg.model.test_cfg.nms.type == "nms"
    resize = cfg.train_dataloader.dataset.pipeline[2]
    assert resize.scale == ((1333, 800) if "_1x" in name else [(1333, 480), (1333, 960)])
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (1333, 800)
    deformable = "dconv" in name
    assert ("dcn" in cfg.model.backbone) == deformable
    if deformable:
        assert cfg.model.backbone.dcn.type == "mmext.DCNv2"
        assert cfg.model.backbone.stage_with_dcn == (False, True, True, True)
    assert cfg.optim_wrapper.optimizer.type == ("AdamW" if "swin" in name else "SGD")
    scales, flips = cfg.tta_pipeline[1].transforms[:2]
    assert len(cfg.tta_model.tta_cfg.scale_ranges) == len(scales) == 12
    assert len(flips) == 2


def test_full_configurations_are_all_listed_here():
    stems = {path.stem for path in FOLDER.glob("centernetpp_*_coco.py")}
    assert stems == {f"centernetpp_{name}_coco" for name, *_ in FULL}


def test_size_of_the_published_head():
    """13.95 million parameters with deformable towers, 13.20 with plain ones."""
    cfg = Config.fromfile(FOLDER / "centernetpp_r50_fpn-gn_1x_coco.py")
    init_default_scope(cfg.default_scope)
    for dcn_cfg, millions in ((cfg.model.bbox_head.dcn_cfg, 13.95), (None, 13.20)):
        head = MODELS.build(dict(cfg.model.bbox_head, dcn_cfg=dcn_cfg))
        count = sum(p.numel() for p in head.parameters())
        assert count == pytest.approx(millions * 1e6, rel=1e-3)


def test_pyramid_of_swin_has_the_strides_of_its_head():
    cfg = Config.fromfile(FOLDER / "centernetpp_swin-l_fpn_ms-32e_coco.py")
    init_default_scope(cfg.default_scope)
    neck = MODELS.build(dict(cfg.model.neck, out_channels=4))
    taken = cfg.model.backbone.out_indices
    size = 512
    maps = [
        torch.zeros(1, channels, size // 4 // 2**i, size // 4 // 2**i)
        for i, channels in zip(taken, cfg.model.neck.in_channels, strict=True)
    ]
    strides = [size // out.shape[-1] for out in neck(maps)]
    assert strides == cfg.model.bbox_head.strides == [8, 16, 32, 64, 128]
