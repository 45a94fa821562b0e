"""The tiny adaptation task with three targets."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import MODELS
from tiny_segmentation import LABELS, LOAD, PACK, bdl, domain, scene, segmentor, tiny_config
from torch import Tensor, nn

DOMAINS = dict(red=0, blue=40, dark=-30, pale=70)
TARGETS = tuple(DOMAINS)[1:]


@MODELS.register_module(force=True)
class AsItIs(nn.Module):
    """A bridge that changes nothing."""

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        return image.float()


def write_streets(root: Path, count: int = 6) -> Path:
    """Write ``root/<domain>/{images,labels}`` for four domains of different brightness."""
    for number, (name, shift) in enumerate(DOMAINS.items()):
        rng = np.random.default_rng(number)
        for folder in ("images", "labels"):
            (root / name / folder).mkdir(parents=True)
        for index in range(count):
            image, labels = scene(rng, shift)
            cv2.imwrite(str(root / name / "images" / f"{index}.png"), image)
            cv2.imwrite(str(root / name / "labels" / f"{index}.png"), labels)
    return root


def dataset_config(root: Path, targets: Sequence[str] = TARGETS) -> dict:
    """Return the config of the training data: ``red`` with labels, targets without."""
    return dict(
        type="mmext.MultiDomainDataset",
        sources=dict(red=domain(root, "red", [LOAD, LABELS, PACK])),
        targets={name: domain(root, name, [LOAD, PACK]) for name in targets},
    )


def multi_target(targets: Sequence[str] = TARGETS, **changes: object) -> dict:
    """Return the config of a model around the tiny segmentor."""
    parts = {k: v for k, v in bdl().items() if k in ("discriminator", "adversarial_loss")}
    return dict(
        type="mmext.MultiTargetAdaptation",
        segmentor=segmentor(),
        targets=list(targets),
        lambda_adv=0.01,
        **parts,
    ) | dict(changes)


def optimizers(*, experts: bool = True, adversarial: bool = True) -> dict:
    """Return the config of the optimisers."""
    sgd = dict(type="SGD", lr=0.02, momentum=0.9)
    found: dict = dict(constructor="mmext.MultiOptimWrapperConstructor")
    found["segmentor"] = dict(optimizer=dict(sgd))
    if experts:
        found["experts"] = dict(optimizer=dict(sgd))
    if adversarial:
        found["discriminators"] = dict(optimizer=dict(type="Adam", lr=1e-3, betas=(0.9, 0.99)))
    return found


def multi_target_config(root: Path, work_dir: Path, **model: object) -> Config:
    """Return a whole config that adapts to two targets for four iterations, two of warm-up."""
    targets = TARGETS[:2]
    cfg = tiny_config(root, work_dir)
    cfg.model = multi_target(targets, warmup_iters=2, ramp_iters=2, **model)
    cfg.train_dataloader.dataset = dataset_config(root, targets)
    cfg.optim_wrapper = optimizers()
    return cfg
