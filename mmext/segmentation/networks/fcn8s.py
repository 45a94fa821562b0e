"""FCN-8s on VGG-16, as the papers on adapting segmentation use it."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule, constant_init, kaiming_init
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.utils import ConfigType
from torch import Tensor, nn
from torch.nn import functional

from mmext.registry import MODELS

# Channels of the convolutions between pools.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def bilinear_kernel(stride: int) -> Tensor:
    """Return the (2 s, 2 s) kernel with which a transposed convolution interpolates linearly."""
    line = 1 - (torch.arange(2 * stride) - (stride - 0.5)).abs() / stride
    return line[:, None] * line


@MODELS.register_module()
class FCN8sVGG16(BaseModule):
    """FCN-8s (Long et al., arXiv 1411.4038) on VGG-16, from image to logits in the image's size.

    It is a whole network, and in a config it takes the place of the backbone, with
    :class:`LogitsHead` behind it: the last step cuts the scores to the size of the image, which a
    decode head of mmseg's does not know. Everything that works with ``EncoderDecoder`` then works
    with it.

    As in the official code of BDL (arXiv 1904.10620), the first convolution is padded by 100
    pixels, pools round up, pool4 and pool3 are multiplied by 0.01 and 0.0001 before they are
    scored, and the transposed convolutions are fixed to linear interpolation. There all weights
    begin at zero and come from a file; here they begin at Kaiming's normal distribution and scores
    at zero, so that one can also start without.

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the images.
        dropout_ratio: Share of the channels of fc6 and fc7 that is dropped in training.
        init_cfg: As for :class:`mmengine.model.BaseModule`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        dropout_ratio: float = 0.5,
        init_cfg: ConfigType | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.stages: list[list[str]] = []
        for i, widths in enumerate(_STAGES, start=1):
            names = [f"conv{i}_{j}" for j in range(1, len(widths) + 1)]
            for name, width in zip(names, widths, strict=True):
                padding = 100 if name == "conv1_1" else 1
                self.add_module(name, nn.Conv2d(in_channels, width, 3, padding=padding))
                in_channels = width
            self.stages.append(names)
        self.fc6 = nn.Conv2d(512, 4096, 7)
        self.fc7 = nn.Conv2d(4096, 4096, 1)
        self.dropout = nn.Dropout2d(dropout_ratio)
        self.score_fr = nn.Conv2d(4096, num_classes, 1)
        self.score_pool4 = nn.Conv2d(512, num_classes, 1)
        self.score_pool3 = nn.Conv2d(256, num_classes, 1)
        self.upscore2 = _linear_upscore(num_classes, 2)
        self.upscore_pool4 = _linear_upscore(num_classes, 2)
        self.upscore8 = _linear_upscore(num_classes, 8)

    def init_weights(self) -> None:
        """Draw the weights of the convolutions, or load them as ``init_cfg`` says."""
        if not self.init_cfg and not self.is_init:
            for name, module in self.named_children():
                if name.startswith("score"):
                    constant_init(module, 0)
                elif isinstance(module, nn.Conv2d):
                    kaiming_init(module)
        super().init_weights()

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Classify every pixel.

        Args:
            images: (B, in_channels, H, W).

        Returns:
            One map: (B, num_classes, H, W) logits.
        """
        pools, x = [], images
        for names in self.stages:
            for name in names:
                x = self._modules[name](x).relu_()
            x = functional.max_pool2d(x, 2, ceil_mode=True)
            pools.append(x)
        x = self.dropout(self.fc6(x).relu_())
        x = self.dropout(self.fc7(x).relu_())
        scores = self.upscore2(self.score_fr(x))
        scores = scores + _crop(self.score_pool4(pools[3] * 1e-2), 5, scores)
        scores = self.upscore_pool4(scores)
        scores = scores + _crop(self.score_pool3(pools[2] * 1e-4), 9, scores)
        return (_crop(self.upscore8(scores), 31, images),)


@MODELS.register_module()
class LogitsHead(BaseDecodeHead):
    """Decode head of a network whose output already is the logits: loss and prediction only.

    Args:
        num_classes: Number of classes, as of the network.
        align_corners: How logits are enlarged, where that is needed.
        loss_decode: Config of the loss, or several. The default is averaged over the pixels that
            are not ignored; an image without any costs 0.
        **kwargs: As for mmseg's ``BaseDecodeHead``.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        align_corners: bool = True,
        loss_decode: ConfigType | Sequence[ConfigType] = dict(
            type="CrossEntropyLoss", avg_non_ignore=True
        ),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes,
            num_classes,
            num_classes=num_classes,
            dropout_ratio=0,
            align_corners=align_corners,
            loss_decode=loss_decode,
            init_cfg=None,
            **kwargs,
        )
        del self.conv_seg

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the logits, which are the map at ``in_index``.

        Args:
            inputs: Maps of the network; the one at ``in_index`` is (B, num_classes, H, W).

        Raises:
            ValueError: The network has another number of classes.
        """
        logits = self._transform_inputs(inputs)
        if logits.shape[1] != self.out_channels:
            raise ValueError(
                f"the network returns {logits.shape[1]} logits per pixel, but "
                f"decode_head.num_classes is {self.num_classes}: set both numbers to the same."
            )
        return logits


def _linear_upscore(channels: int, stride: int) -> nn.ConvTranspose2d:
    """Make a layer that enlarges each channel by linear interpolation and does not learn."""
    layer = nn.ConvTranspose2d(channels, channels, 2 * stride, stride=stride, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(channels)[..., None, None] * bilinear_kernel(stride))
    return layer.requires_grad_(False)


def _crop(scores: Tensor, offset: int, like: Tensor) -> Tensor:
    """Cut a window of the size of ``like`` out of scores, as far from the top as from the left."""
    height, width = like.shape[2:]
    return scores[..., offset : offset + height, offset : offset + width]
