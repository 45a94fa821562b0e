"""Deformable convolutions that predict their own offsets, for ``conv_cfg`` and ``dcn=``."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from mmext.registry import MODELS

from .deform_conv import Pair, deform_conv2d


class _DeformConvLayer(nn.Module):
    """Filters, the convolution that predicts the offsets, and what mmcv's ConvModule reads."""

    predictions_per_tap: int  # row and column offset, and for v2 the mask

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups or in_channels % deform_groups:
            raise ValueError(
                f"{type(self).__name__}: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}, deform_groups={deform_groups} must divide "
                "in_channels."
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        self.deform_groups = deform_groups
        self.transposed = False
        self.output_padding = _pair(0)
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, *self.kernel_size)
        )
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.conv_offset = nn.Conv2d(
            in_channels,
            self.predictions_per_tap * deform_groups * math.prod(self.kernel_size),
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
        )
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the filters and let the layer start as an ordinary convolution."""
        self._init_filters()
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)

    def _init_filters(self) -> None:
        raise NotImplementedError

    def _convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        return deform_conv2d(
            x,
            offset,
            self.weight,
            self.bias,
            mask,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.deform_groups,
        )

    def extra_repr(self) -> str:
        """Describe the layer as ``nn.Conv2d`` does."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, deform_groups={self.deform_groups}, "
            f"bias={self.bias is not None}"
        )


@MODELS.register_module()
class DCN(_DeformConvLayer):
    """Deformable convolution v1 that predicts its offsets from its input.

    Deformable Convolutional Networks (Dai et al., 2017). Arguments, initialisation and state dict
    are those of mmcv's ``DeformConv2dPack``; a bias, which that layer lacks, is allowed here.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Kernel points in each direction.
        stride: Step between output points, in pixels.
        padding: Zero padding at each side, in pixels.
        dilation: Step between kernel points, in pixels.
        groups: Blocks of channels that are convolved independently.
        deform_groups: Blocks of input channels with offsets of their own.
        bias: Whether a bias is added.
    """

    predictions_per_tap = 2

    def _init_filters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x``.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            (N, out_channels, out_h, out_w), sizes as for ``nn.Conv2d``.
        """
        return self._convolve(x, self.conv_offset(x))


@MODELS.register_module()
class DCNv2(_DeformConvLayer):
    """Modulated deformable convolution that predicts offsets and masks from its input.

    Deformable ConvNets v2 (Zhu et al., 2019). Arguments, initialisation and state dict are those
    of mmcv's ``ModulatedDeformConv2dPack``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Kernel points in each direction.
        stride: Step between output points, in pixels.
        padding: Zero padding at each side, in pixels.
        dilation: Step between kernel points, in pixels.
        groups: Blocks of channels that are convolved independently.
        deform_groups: Blocks of input channels with offsets and masks of their own.
        bias: Whether a bias is added.
    """

    predictions_per_tap = 3

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            deform_groups,
            bias,
        )

    def _init_filters(self) -> None:
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x``.

        Args:
            x: (N, in_channels, H, W).

        Returns:
            (N, out_channels, out_h, out_w), sizes as for ``nn.Conv2d``.
        """
        predictions = self.conv_offset(x)
        # The three thirds are (offsets, offsets, mask logits), as in mmcv.
        split = predictions.shape[1] // 3 * 2
        return self._convolve(x, predictions[:, :split], predictions[:, split:].sigmoid())
