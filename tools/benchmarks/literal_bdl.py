"""BDL's official step and evaluation, step by step in plain torch and numpy, for comparison.

Written from the description of the method and of its code (arXiv 1904.10620): the cross entropy
picks the valid pixels out of a copy with the classes last; the discriminator sees the target's
predictions twice; most parameters of the backbone are listed, and so updated, three times; every
loss is read in every iteration. What is left out: learning rates that change, and CUDA.
"""

import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmext.segmentation.adaptation.duplicate_params import duplicated_parameters

SOURCE, TARGET, IGNORE = 0, 1, 255


class LiteralBDL:
    """The networks, their optimisers and the step.

    Args:
        segmentor: With ``backbone`` and ``decode_head``.
        discriminator: Probabilities in, scores out.
        lr: Learning rate of the backbone; the head has ten times as much.
        lambda_adv: Weight of the adversarial loss.
    """

    def __init__(
        self, segmentor: nn.Module, discriminator: nn.Module, lr: float, lambda_adv: float
    ) -> None:
        self.segmentor = segmentor.train()
        self.discriminator = discriminator.train()
        self.lambda_adv = lambda_adv
        head = [p for p in segmentor.decode_head.parameters() if p.requires_grad]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*duplicate parameters.*")
            by_segmentor = torch.optim.SGD(
                [
                    dict(params=duplicated_parameters(segmentor.backbone), lr=lr),
                    dict(params=head, lr=10 * lr),
                ],
                lr=lr,
                momentum=0.9,
                weight_decay=5e-4,
                foreach=False,
            )
        by_discriminator = torch.optim.Adam(discriminator.parameters(), lr=1e-4, betas=(0.9, 0.99))
        self.optimizers = (by_segmentor, by_discriminator)

    def step(
        self, source: Tensor, labels: Tensor, target: Tensor, pseudo_labels: Tensor | None
    ) -> dict[str, float]:
        """Learn from images and return the losses.

        Args:
            source: (B, 3, H, W) preprocessed images.
            labels: (B, H, W) classes of them, 255 is ignored.
            target: (B, 3, H, W) preprocessed images.
            pseudo_labels: (B, H, W) classes of them, or None.
        """
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self._let_discriminator_learn(False)
        of_source = self._predict(source)
        loss_source = _cross_entropy(of_source, labels)
        loss_source.backward()

        of_target = self._predict(target)
        loss_target = 0 if pseudo_labels is None else _cross_entropy(of_target, pseudo_labels)
        loss_deceive = self._judge(of_target, SOURCE)
        (self.lambda_adv * loss_deceive + loss_target).backward()

        self._let_discriminator_learn(True)
        of_source, of_target = of_source.detach(), of_target.detach()
        loss_judge_source = self._judge(of_source, SOURCE) / 2
        loss_judge_source.backward()
        loss_judge_target = self._judge(of_target, TARGET) / 2
        loss_judge_target.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return {
            "source.decode.loss_ce": loss_source.item(),
            "target.decode.loss_ce": float(torch.as_tensor(loss_target).detach()),
            "target.loss_adv": self.lambda_adv * loss_deceive.item(),
            "source.loss_discriminator": loss_judge_source.item(),
            "target.loss_discriminator": loss_judge_target.item(),
        }

    def _predict(self, images: Tensor) -> Tensor:
        """Return logits in the size of the images."""
        logits = self.segmentor.decode_head(self.segmentor.backbone(images))
        size, corners = images.shape[2:], self.segmentor.align_corners
        return functional.interpolate(logits, size, mode="bilinear", align_corners=corners)

    def _judge(self, logits: Tensor, label: int) -> Tensor:
        scores = self.discriminator(functional.softmax(logits, dim=1))
        return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, label))

    def _let_discriminator_learn(self, learn: bool) -> None:
        for parameter in self.discriminator.parameters():
            parameter.requires_grad = learn


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    classes = logits.shape[1]
    valid = (labels >= 0) * (labels != IGNORE)
    logits = logits.permute(0, 2, 3, 1).contiguous()
    logits = logits[valid[..., None].repeat(1, 1, 1, classes)].view(-1, classes)
    return functional.cross_entropy(logits, labels[valid])


def histogram(target: np.ndarray, pred: np.ndarray, classes: int) -> np.ndarray:
    """Return the confusion matrix of an image, target by prediction.

    Args:
        target: (H, W) classes, or what is ignored.
        pred: (H, W) classes.
        classes: Number of classes.
    """
    target, pred = target.flatten(), pred.flatten()
    valid = (target >= 0) & (target < classes)
    cells = classes * target[valid].astype(int) + pred[valid]
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)
