"""An adaptation task that trains in a second: coloured blocks, three convolutions."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

CLASSES = ("ground", "block", "sky")
SIZE = (32, 64)
_COLOURS = np.array([[60, 60, 60], [30, 30, 200], [220, 160, 90]], np.uint8)


@MODELS.register_module(force=True)
class TinySegBackbone(nn.Sequential):
    """Two convolutions of stride 2; no norm, so that batches can be split."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__(
            nn.Conv2d(3, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.ReLU(),
        )

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (super().forward(image),)

    def init_weights(self) -> None:
        """torch's own initial weights."""


@MODELS.register_module(force=True)
class TinyDiscriminator(nn.Sequential):
    """Two convolutions over probabilities."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__(
            nn.Conv2d(num_classes, 4, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4, 1, 4, stride=2, padding=1),
        )


@MODELS.register_module(force=True)
class TinyAdversarialLoss(nn.Module):
    """Binary cross entropy with logits."""

    def forward(self, scores: Tensor, label: float) -> Tensor:
        return functional.binary_cross_entropy_with_logits(
            scores, torch.full_like(scores, float(label))
        )


def scene(rng: np.random.Generator, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an image, (H, W, 3) uint8, and its labels; ``shift`` changes all colours."""
    height, width = SIZE
    labels = np.zeros(SIZE, np.uint8)
    labels[: height // 2] = 2
    left, top = rng.integers(4, width - 20), rng.integers(8, 14)
    labels[top : top + 12, left : left + 14] = 1
    image = _COLOURS[labels].astype(int) + rng.normal(0, 8, (*SIZE, 3)) + shift
    return image.clip(0, 255).astype(np.uint8), labels


def write_domains(root: Path, count: int = 8) -> Path:
    """Write ``root/<domain>/{images,labels}`` for the domains ``red`` and, brighter, ``blue``."""
    for domain, shift in (("red", 0), ("blue", 40)):
        rng = np.random.default_rng(shift)
        for folder in ("images", "labels"):
            (root / domain / folder).mkdir(parents=True)
        for index in range(count):
            image, labels = scene(rng, shift)
            cv2.imwrite(str(root / domain / "images" / f"{index}.png"), image)
            cv2.imwrite(str(root / domain / "labels" / f"{index}.png"), labels)
    return root


def domain(root: Path, name: str, pipeline: list[dict]) -> dict:
    """Return the config of a domain's data set."""
    return dict(
        type="mmext.FolderSegDataset",
        data_root=str(root / name),
        data_prefix=dict(img_path="images", seg_map_path="labels"),
        metainfo=dict(classes=CLASSES),
        pipeline=pipeline,
        serialize_data=False,  # mmengine collects garbage to do so, half a second each time
    )


LOAD, PACK = dict(type="LoadImageFromFile"), dict(type="PackSegInputs")
LABELS = dict(type="mmext.LoadLabelIds")


def segmentor() -> dict:
    """Return the config of a segmentor of mmseg's."""
    return dict(
        type="EncoderDecoder",
        data_preprocessor=dict(
            type="SegDataPreProcessor", mean=[128.0] * 3, std=[64.0] * 3, size_divisor=4
        ),
        backbone=dict(type="TinySegBackbone"),
        decode_head=dict(
            type="FCNHead",
            in_channels=8,
            channels=8,
            num_convs=1,
            concat_input=False,
            dropout_ratio=0.0,
            num_classes=len(CLASSES),
            norm_cfg=None,
            align_corners=True,
            loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
        ),
        train_cfg=dict(),
        test_cfg=ConfigDict(mode="whole"),
    )


def bdl(**changes: object) -> dict:
    """Return the config of a BDL around :func:`segmentor`."""
    return dict(
        type="mmext.BDL",
        segmentor=segmentor(),
        discriminator=dict(type="TinyDiscriminator"),
        adversarial_loss=dict(type="TinyAdversarialLoss"),
        lambda_adv=0.01,
    ) | dict(changes)


def tiny_config(root: Path, work_dir: Path, *, max_iters: int = 4, batch_size: int = 2) -> Config:
    """Return a whole config that adapts from ``red`` to ``blue``."""
    test = dict(
        batch_size=1,
        num_workers=0,
        persistent_workers=False,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=domain(root, "blue", [LOAD, LABELS, PACK]),
    )
    poly = dict(type="PolyLR", power=0.9, begin=0, end=100, by_epoch=False)
    return Config(
        dict(
            default_scope="mmseg",
            work_dir=str(work_dir),
            model=bdl(),
            train_dataloader=dict(
                batch_size=batch_size,
                num_workers=0,
                persistent_workers=False,
                sampler=dict(type="mmext.MultiDomainSampler"),
                dataset=dict(
                    type="mmext.MultiDomainDataset",
                    sources=dict(red=domain(root, "red", [LOAD, LABELS, PACK])),
                    targets=dict(blue=domain(root, "blue", [LOAD, PACK])),
                ),
            ),
            val_dataloader=test,
            test_dataloader=test,
            val_evaluator=dict(type="mmext.UDAIoUMetric"),
            test_evaluator=dict(type="mmext.UDAIoUMetric"),
            optim_wrapper=dict(
                constructor="mmext.MultiOptimWrapperConstructor",
                segmentor=dict(optimizer=dict(type="SGD", lr=0.02, momentum=0.9)),
                discriminator=dict(optimizer=dict(type="Adam", lr=1e-3, betas=(0.9, 0.99))),
            ),
            param_scheduler=[poly],
            train_cfg=dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=1000),
            val_cfg=dict(type="ValLoop"),
            test_cfg=dict(type="TestLoop"),
            default_hooks=dict(
                timer=dict(type="IterTimerHook"),
                logger=dict(type="LoggerHook", interval=1),
                param_scheduler=dict(type="ParamSchedulerHook"),
                checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2),
            ),
            log_processor=dict(type="LogProcessor", by_epoch=False),
            randomness=dict(seed=0),
        )
    )
