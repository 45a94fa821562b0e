"""A campaign that takes seconds: twelve images, a very small FCOS, two cycles."""

from pathlib import Path

from mmengine.config import Config
from tiny_detection import tiny_config

RANDOM_FLIP = dict(type="RandomFlip", prob=0.5)


def campaign_config(root: Path, work_dir: Path, **train_cfg) -> Config:
    """Return a config of two cycles over the data in ``root``, with augmentation."""
    cfg = tiny_config(root, work_dir)
    cfg.train_dataloader.sampler.shuffle = True
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.pipeline[2].scale = (32, 32)
        loader.dataset.serialize_data = False
    cfg.train_dataloader.dataset.pipeline.insert(3, RANDOM_FLIP)
    shallow = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))
    cfg.model.backbone.update(shallow)
    cfg.model.neck.update(in_channels=[8, 16], num_outs=2)
    cfg.model.bbox_head.update(strides=[4, 8], regress_ranges=((-1, 16), (16, 1e8)))
    cfg.model.test_cfg.score_thr = 0.0  # so that there are figures at once
    cfg.val_dataloader.batch_size = 4
    cfg.val_dataloader.dataset.indices = 4
    cfg.train_cfg = dict(
        type="mmext.ActiveLearningLoop",
        cycles=2,
        budget=dict(initial=4, step=3),
        phases=[dict(name="train", epochs=2)],
        acquisition=dict(type="mmext.Random"),
    )
    cfg.train_cfg.update(train_cfg)
    cfg.param_scheduler = [dict(type="LinearLR", start_factor=0.5, by_epoch=False, end=3)]
    cfg.default_hooks.checkpoint.interval = 100
    return cfg
