"""Multi-scale testing through ``tools/test.py``."""

import subprocess
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope
from tiny_detection import tiny_config, write_coco

from mmext.registry import MODELS

ROOT = Path(__file__).parents[3]
SIDE = 12  # of the boxes that the model predicts everywhere, in pixels of its input


def write_config(folder: Path) -> Config:
    """A full head that tests at 64 px and at 128 px, each as it is and mirrored."""
    write_coco(folder / "data")
    cfg = tiny_config(folder / "data", folder / "work")
    cfg.model.type = "mmext.CenterNetPlusPlus"
    norm_cfg = dict(type="GN", num_groups=4)
    cfg.model.bbox_head = dict(
        type="mmext.CenterNetPlusPlusHead",
        num_classes=2,
        in_channels=16,
        feat_channels=16,
        point_feat_channels=16,
        stacked_convs=1,
        corner_dim=8,
        strides=[4, 8, 16, 32],
        dcn_cfg=None,
        norm_cfg=norm_cfg,
    )
    cfg.model.test_cfg = dict(
        nms_pre=1000,
        score_thr=0.005,
        quarter_nms=dict(type="nms", iou_threshold=0.6),
        max_per_branch=100,
        grouping=dict(distance_threshold=0.5),
        nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=100,
    )
    published = Config.fromfile(ROOT / "configs" / "_base_" / "centernetpp_tta.py")
    cfg.tta_model, cfg.tta_pipeline = published.tta_model, published.tta_pipeline
    cfg.tta_model.tta_cfg.update(scale_ranges=[(SIDE - 1, None), (0, SIDE / 2 + 1)], score_thr=0.0)
    cfg.tta_pipeline[1].transforms[0] = [dict(type="Resize", scale=(s, s)) for s in (64, 128)]
    cfg.dump(folder / "config.py")
    return cfg


def write_checkpoint(cfg: Config, target: Path) -> None:
    """A network that predicts the same box around every cell of the finest level."""
    init_default_scope("mmdet")
    model = MODELS.build(cfg.model)
    model.init_weights()
    reach = SIDE / 2 / 4  # in strides
    points = {"tl": [-reach, -reach, 0, 0], "br": [0, 0, reach, reach]}
    with torch.no_grad():
        for side, values in points.items():
            branch = model.bbox_head.branches[side]
            branch.pts_refine_out.weight.zero_()
            branch.pts_refine_out.bias[:4] = torch.tensor(values)
    torch.save(dict(state_dict=model.state_dict()), target)


def test_tool_merges_scales_and_flips(tmp_path):
    cfg = write_config(tmp_path)
    write_checkpoint(cfg, tmp_path / "model.pth")
    command = [sys.executable, str(ROOT / "tools" / "test.py"), "config.py", "model.pth", "--tta"]
    command += ["--out", "predictions.pkl", "--work-dir", "work"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "coco/bbox_mAP" in done.stdout
    predictions = load(tmp_path / "predictions.pkl")
    assert len(predictions) == 8
    for sample in predictions:
        boxes = sample["pred_instances"]["bboxes"]
        sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
        # At 128 px the finest level has boxes of half the side, in pixels of the image. The second
        # range leaves those of coarser levels to the scale of 64 px.
        assert ((sizes > SIDE - 1.01) | (sizes < SIDE / 2 + 1.01)).all()
        assert (sizes < SIDE / 2 + 1.01).any()
        assert (sizes > SIDE - 1.01).any()
        assert boxes.min() >= 0
        assert boxes.max() <= 64
