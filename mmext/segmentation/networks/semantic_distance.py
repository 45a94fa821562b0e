"""How far apart two images are in the eyes of a segmentation network."""

from typing import Literal

import torch
from mmengine.model import BaseModule
from mmseg.structures import SegDataSample
from mmseg.utils import ConfigType
from torch import Tensor
from torch.nn import functional

from mmext.registry import MODELS

SemanticKind = Literal["normalized_mse", "l1"]


def semantic_distance(
    logits: Tensor, other: Tensor, kind: SemanticKind = "normalized_mse"
) -> Tensor:
    """Return the distance between the logits of two images, a mean over all elements.

    Args:
        logits: (B, C, H, W) at the network's own stride.
        other: As ``logits``.
        kind: ``'normalized_mse'``: the squared difference after an instance norm of each class's
            map, as in the official code. ``'l1'``: the absolute difference, as in the paper.

    Returns:
        A scalar in float32.

    Raises:
        ValueError: ``kind`` is neither.

    Source: the perceptual loss of BDL (arXiv 1904.10620) and its official code. Where they differ
    the code is the default, since the published weights come from it.
    """
    logits, other = logits.float(), other.float()
    if kind == "normalized_mse":
        return functional.mse_loss(
            functional.instance_norm(logits), functional.instance_norm(other)
        )
    if kind == "l1":
        return functional.l1_loss(logits, other)
    raise ValueError(f"kind of semantic distance is {kind!r}, expected 'normalized_mse' or 'l1'")


@MODELS.register_module()
class SemanticTerm(BaseModule):
    """A frozen segmentor that holds translated images to what the originals show.

    Args:
        segmentor: Config of any mmseg segmentor whose ``mode='tensor'`` returns logits; its
            ``init_cfg`` names the weights. It gets images as its own data preprocessor makes them,
            never learns, and stays in ``eval()``.
        translation_weight: Factor on the distance of an image from its translation.
        reconstruction_weight: Factor on its distance from its way there and back.
        kind: See :func:`semantic_distance`.
    """

    def __init__(
        self,
        *,
        segmentor: ConfigType,
        translation_weight: float = 0.1,
        reconstruction_weight: float = 10.0,
        kind: SemanticKind = "normalized_mse",
    ) -> None:
        super().__init__()
        self.segmentor = MODELS.build(segmentor).requires_grad_(False)
        self.translation_weight = translation_weight
        self.reconstruction_weight = reconstruction_weight
        semantic_distance(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), kind)  # or an error
        self.kind = kind
        self.train(False)

    def train(self, mode: bool = True) -> "SemanticTerm":
        """Do nothing: batch norms use their running averages at all times."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images, through which gradients reach the images.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].

        Returns:
            (B, C, H', W') logits.
        """
        bgr = (images.float().flip(1) + 1) * 127.5  # what image files are read as
        samples = [SegDataSample() for _ in bgr]
        data = dict(inputs=list(bgr), data_samples=samples)
        return self.segmentor(self.segmentor.data_preprocessor(data)["inputs"], mode="tensor")

    def losses(self, real: Tensor, translated: Tensor, restored: Tensor) -> dict[str, Tensor]:
        """Return both weighted terms for images of one domain.

        Args:
            real: (B, 3, H, W) RGB in [-1, 1].
            translated: The same images in the style of the other domain.
            restored: These, translated back.
        """
        with torch.no_grad():
            seen = self(real)
        there, back = self(torch.cat((translated, restored))).chunk(2)
        return dict(
            loss_semantic=self.translation_weight * semantic_distance(there, seen, self.kind),
            loss_semantic_cycle=self.reconstruction_weight
            * semantic_distance(back, seen, self.kind),
        )
