"""The losses in mmdet's own heads, as those call them."""

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope

from mmext.engine import import_host

# Config and, below `model`, the head with the box loss.
RETINANET = "retinanet/retinanet_r50_fpn_1x_coco.py"
FASTER_RCNN = "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
HEADS = {
    RETINANET: "bbox_head",
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py": "bbox_head",
    "fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py": "bbox_head",
    "atss/atss_r50_fpn_1x_coco.py": "bbox_head",
    FASTER_RCNN: "roi_head.bbox_head",
    "rtmdet/rtmdet_tiny_8xb32-300e_coco.py": "bbox_head",  # no exponential: sides below 0
}


def detector(config, head, loss, **settings):
    """Return mmdet's detector with a ResNet-18, or RTMDet as it is, and another box loss."""
    import_host("mmdet")
    cfg = get_config(f"mmdet::{config}")
    if cfg.model.backbone.type == "ResNet":
        cfg.merge_from_dict(
            dict(
                model=dict(
                    backbone=dict(depth=18, style="pytorch"),
                    neck=dict(in_channels=[64, 128, 256, 512]),
                )
            )
        )
    cfg.model.backbone.init_cfg = None
    cfg.merge_from_dict({f"model.{head}.loss_bbox": dict(_delete_=True, **loss)})
    cfg.merge_from_dict({f"model.{head}.{key}": value for key, value in settings.items()})
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model)
    return model.train()


def losses_of(model, boxes=(3, 2)):
    packed = demo_mm_inputs(2, [[3, 64, 64], [3, 48, 64]], num_items=list(boxes))
    with DefaultScope.overwrite_default_scope("mmdet"):
        data = model.data_preprocessor(packed, training=True)
        return model.parse_losses(model(**data, mode="loss"))


@pytest.mark.parametrize(
    ("config", "head", "loss"),
    [(*item, dict(type="mmext.KLDLoss")) for item in HEADS.items()]
    + [
        (RETINANET, HEADS[RETINANET], dict(type="mmext.GWDLoss")),
        (RETINANET, HEADS[RETINANET], dict(type="mmext.GDLoss", loss_type="gwd")),
    ],
)
def test_a_training_step(config, head, loss):
    decode = {"reg_decoded_bbox": True} if config in (RETINANET, FASTER_RCNN) else {}
    model = detector(config, head, loss, **decode)
    total, logged = losses_of(model)
    assert 0 < logged["loss_bbox"] < 10
    total.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)
    # Images without boxes have nothing to regress.
    model.zero_grad()
    total, logged = losses_of(model, boxes=(0, 0))
    assert logged["loss_bbox"] == 0
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("config", [RETINANET, FASTER_RCNN])
def test_a_head_that_does_not_decode_is_told_so(config):
    with pytest.raises(ValueError, match=r"KLDLoss: .*reg_decoded_bbox=True"):
        losses_of(detector(config, HEADS[config], dict(type="mmext.KLDLoss")), boxes=(8, 8))
