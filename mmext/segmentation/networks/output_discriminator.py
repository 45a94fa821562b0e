"""The discriminator that tells by a segmentation which domain an image is from."""

import math
from typing import Literal

from mmengine.model import BaseModule
from mmseg.utils import ConfigType
from torch import Tensor, nn
from torch.nn import functional

from mmext.registry import MODELS


def entropy_map(probabilities: Tensor) -> Tensor:
    """Return each class's share of the entropy of a pixel, ``-p log p / log C``.

    Args:
        probabilities: (B, C, H, W), adding up to 1 over C.

    Returns:
        (B, C, H, W) in float32; the sum over C is between 0 (certain) and 1.

    Source: ADVENT (arXiv 1811.12833), section 3.2, "weighted self-information".
    """
    p = probabilities.float()
    return -p * (p + 1e-30).log() / math.log(p.shape[1])  # no infinite gradient where p is 0


@MODELS.register_module()
class OutputDiscriminator(BaseModule):
    """Fully convolutional discriminator in the output space of segmentation.

    Five 4x4 convolutions of stride 2 and LeakyReLU 0.2 between them, no norm. It looks at
    probabilities that were enlarged to the size of the images; 1024x512 pixels get 32x16 scores.

    Args:
        num_classes: Number of classes.
        base_channels: Channels of the first convolution; each of the next three has twice as many.
        input_map: ``'probability'``, what the network is given as it is, or ``'entropy'``, the
            :func:`entropy_map` of it, as in ADVENT (arXiv 1811.12833).
        init_cfg: As for :class:`mmengine.model.BaseModule`. None: torch's own initial weights, as
            in the official code.

    Raises:
        ValueError: ``input_map`` is neither.

    Source: AdaptSegNet (arXiv 1802.10349), section 5.1; BDL (arXiv 1904.10620) has the same.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        base_channels: int = 64,
        input_map: Literal["probability", "entropy"] = "probability",
        init_cfg: ConfigType | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if input_map not in ("probability", "entropy"):
            raise ValueError(
                f"discriminator.input_map is {input_map!r}, expected 'probability' or 'entropy'"
            )
        self.num_classes = num_classes
        self.input_map = input_map
        widths = [num_classes, *(base_channels * 2**i for i in range(4))]
        for i in range(4):
            conv = nn.Conv2d(widths[i], widths[i + 1], 4, stride=2, padding=1)
            self.add_module(f"conv{i + 1}", conv)
        self.classifier = nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1)

    def forward(self, probabilities: Tensor) -> Tensor:
        """Judge segmentations.

        Args:
            probabilities: (B, num_classes, H, W), softmax of the logits, in the size of the images.

        Returns:
            (B, 1, H // 32, W // 32) scores, the higher the more like the target domain (label 1).

        Raises:
            ValueError: Another number of classes, or sides below 32 pixels.
        """
        channels, height, width = probabilities.shape[1:]
        if channels != self.num_classes or min(height, width) < 32:
            raise ValueError(
                f"the discriminator got {channels} classes and {height}x{width} pixels. Expected "
                f"discriminator.num_classes={self.num_classes} classes and sides of 32 pixels or "
                "more: give it the probabilities enlarged to the size of the images."
            )
        x = entropy_map(probabilities) if self.input_map == "entropy" else probabilities
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = functional.leaky_relu(conv(x), 0.2, inplace=True)
        return self.classifier(x)
