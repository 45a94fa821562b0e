"""A detection task that trains in a second: coloured rectangles on noise, a very small FCOS."""

import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

CLASSES = ("red", "blue")


def write_coco(root: Path, *, images: int = 8, size: int = 64, seed: int = 0) -> Path:
    """Write ``images`` pictures and ``root/annotations.json``; return the json's path."""
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    content = dict(
        images=[],
        annotations=[],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)],
    )
    for index in range(images):
        picture = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
        for label in range(2):
            x, y = (int(v) for v in rng.integers(0, size // 2, 2))
            w, h = (int(v) for v in rng.integers(size // 4, size // 2, 2))
            picture[y : y + h, x : x + w] = (40, 40, 220) if label == 0 else (220, 40, 40)
            content["annotations"].append(
                dict(
                    id=len(content["annotations"]) + 1,
                    image_id=index,
                    category_id=label + 1,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                )
            )
        cv2.imwrite(str(root / "images" / f"{index}.png"), picture)
        content["images"].append(dict(id=index, file_name=f"{index}.png", width=size, height=size))
    target = root / "annotations.json"
    target.write_text(json.dumps(content))
    return target


def tiny_config(root: Path, work_dir: Path, *, max_iters: int = 3) -> Config:
    """Return a whole mmdet config over the data of :func:`write_coco` in ``root``."""
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="Resize", scale=(64, 64)),
        dict(type="PackDetInputs"),
    ]
    dataset = dict(
        type="CocoDataset",
        data_root=str(root),
        ann_file="annotations.json",
        data_prefix=dict(img="images"),
        metainfo=dict(classes=CLASSES),
        pipeline=pipeline,
    )
    loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
    norm = dict(type="GN", num_groups=4)
    return Config(
        dict(
            default_scope="mmdet",
            work_dir=str(work_dir),
            model=dict(
                type="FCOS",
                data_preprocessor=dict(
                    type="DetDataPreprocessor", mean=[127.0] * 3, std=[64.0] * 3
                ),
                backbone=dict(
                    type="ResNet", depth=18, base_channels=8, stem_channels=8, norm_cfg=norm
                ),
                neck=dict(type="FPN", in_channels=[8, 16, 32, 64], out_channels=16, num_outs=4),
                bbox_head=dict(
                    type="FCOSHead",
                    num_classes=2,
                    in_channels=16,
                    feat_channels=16,
                    stacked_convs=1,
                    strides=[4, 8, 16, 32],
                    regress_ranges=((-1, 16), (16, 32), (32, 64), (64, 1e8)),
                    norm_cfg=norm,
                ),
                test_cfg=dict(
                    nms_pre=100,
                    score_thr=0.05,
                    nms=dict(type="nms", iou_threshold=0.6),
                    max_per_img=20,
                ),
            ),
            train_dataloader=dict(
                **loader, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dataset
            ),
            val_dataloader=dict(
                **loader,
                sampler=dict(type="DefaultSampler", shuffle=False),
                dataset=dict(dataset, test_mode=True),
            ),
            test_dataloader=dict(
                **loader,
                sampler=dict(type="DefaultSampler", shuffle=False),
                dataset=dict(dataset, test_mode=True),
            ),
            val_evaluator=dict(type="CocoMetric", ann_file=str(root / "annotations.json")),
            test_evaluator=dict(type="CocoMetric", ann_file=str(root / "annotations.json")),
            optim_wrapper=dict(
                type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9)
            ),
            train_cfg=dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=1000),
            val_cfg=dict(type="ValLoop"),
            test_cfg=dict(type="TestLoop"),
            default_hooks=dict(
                timer=dict(type="IterTimerHook"),
                logger=dict(type="LoggerHook", interval=1),
                checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=max_iters),
                visualization=dict(type="DetVisualizationHook"),
            ),
            visualizer=dict(type="DetLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")]),
            log_processor=dict(type="LogProcessor", by_epoch=False),
            randomness=dict(seed=0),
        )
    )
