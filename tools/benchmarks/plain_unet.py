"""A plain convolutional U-Net for images, the baseline of the restoration benchmark."""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.LeakyReLU(0.1),
    )


@MODELS.register_module()
class PlainUNet(nn.Module):
    """Two 3x3 convolutions per level, four levels down and up, the input added at the end.

    Args:
        channels: Channels of the first level; they double with each level down.
        levels: How often the sides are halved; those of images are multiples of ``2**levels``.
    """

    def __init__(self, channels: int = 32, levels: int = 4) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels + 1)]
        self.encoder = nn.ModuleList(
            _block(before, after) for before, after in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[:-1]
        )
        self.decoder = nn.ModuleList(_block(2 * width, width) for width in widths[:-1])
        self.last = nn.Conv2d(channels, 3, 3, padding=1)
        # It starts as the identity, like the network that it is compared with.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return the restored (B, 3, H, W) images."""
        features, skips = image, []
        for index, block in enumerate(self.encoder):
            features = block(nn.functional.max_pool2d(features, 2) if index else features)
            skips.append(features)
        for level in reversed(range(len(self.up))):
            features = torch.cat([self.up[level](features), skips[level]], dim=1)
            features = self.decoder[level](features)
        return image + self.last(features)
