"""Every published configuration builds, trains a step and predicts."""

from pathlib import Path

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmext.registry import MODELS

FOLDER = Path(__file__).parents[3] / "configs" / "centernetpp"
CONFIGS = sorted(FOLDER.glob("*_coco.py"))


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
