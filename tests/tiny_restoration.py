"""A restoration task that trains in a second: smooth pictures with noise, three convolutions."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn


@MODELS.register_module(force=True)
class TinyRestorationNet(nn.Sequential):
    """Three convolutions and a residual connection; halves nothing, any size goes."""

    def __init__(self, channels: int = 8, in_channels: int = 3) -> None:
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, 3, 3, padding=1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, :3] + super().forward(image)


def smooth_picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 with soft blobs of colour."""
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write_pairs(root: Path, count: int = 8, size: tuple[int, int] = (48, 64)) -> Path:
    """Write ``count`` pictures to ``root/clean``, and to ``root/noisy`` with noise of 25/255."""
    rng = np.random.default_rng(0)
    for folder in ("clean", "noisy"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        clean = smooth_picture(rng, *size)
        noisy = (clean + rng.normal(0, 25, clean.shape)).round().clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(root / "clean" / f"{index}.png"), clean)
        cv2.imwrite(str(root / "noisy" / f"{index}.png"), noisy)
    return root


def tiny_config(root: Path, work_dir: Path, *, max_iters: int = 3) -> Config:
    """Return a whole config over the data of :func:`write_pairs` in ``root``."""

    def loader(pipeline: list[dict], batch_size: int) -> dict:
        return dict(
            batch_size=batch_size,
            num_workers=0,
            persistent_workers=False,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(
                type="mmext.PairedImageDataset",
                data_root=str(root),
                data_prefix=dict(img="noisy", gt="clean"),
                pipeline=pipeline,
            ),
        )

    load, pack = dict(type="mmext.LoadImagePair"), dict(type="mmext.PackRestorationInputs")
    crop = dict(type="mmext.PairedRandomCrop", crop_size=32)
    evaluators = [dict(type="mmext.PSNR"), dict(type="mmext.SSIM", protocol="gaussian")]
    return Config(
        dict(
            default_scope="mmengine",
            work_dir=str(work_dir),
            model=dict(type="mmext.ImageRestorer", generator=dict(type="TinyRestorationNet")),
            train_dataloader=loader([load, crop, dict(type="mmext.RandomDihedral"), pack], 4),
            val_dataloader=loader([load, pack], 1),
            test_dataloader=loader([load, pack], 1),
            val_evaluator=evaluators,
            test_evaluator=evaluators,
            optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3)),
            train_cfg=dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=1000),
            val_cfg=dict(type="ValLoop"),
            test_cfg=dict(type="TestLoop"),
            default_hooks=dict(
                timer=dict(type="IterTimerHook"),
                logger=dict(type="LoggerHook", interval=1),
                checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=max_iters),
                visualization=dict(type="mmext.RestorationVisualizationHook"),
            ),
            visualizer=dict(
                type="mmext.RestorationVisualizer", vis_backends=[dict(type="LocalVisBackend")]
            ),
            log_processor=dict(type="LogProcessor", by_epoch=False),
            randomness=dict(seed=0),
        )
    )
