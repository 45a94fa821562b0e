"""Deep layer aggregation (Yu et al., arXiv 1707.06484): the backbone DLA-34."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmdet.models.backbones.resnet import BasicBlock
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmext.registry import MODELS

# Trees of DLA-34 on levels 2 to 5: how deep they are. Every tree halves the map.
_DEPTHS = (1, 2, 2, 1)


def _conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, norm_cfg: ConfigType
) -> list[nn.Module]:
    """Build a convolution without bias and its norm."""
    padding = kernel_size // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
    return [conv, build_norm_layer(norm_cfg, out_channels)[1]]


class _Block(BasicBlock):
    """mmdet's residual block, with the shortcut handed in."""

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        x = self.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)) + shortcut)


class _Tree(BaseModule):
    """Two subtrees (blocks, where the tree is one deep) whose outputs a root aggregates.

    A root concatenates the second subtree, the first, and what comes from further out: the pooled
    input of the whole level and the first subtrees of the trees around it. The official code also
    makes a projection for the shortcut of deeper trees, which nothing reads.

    Args:
        depth (int): 1 for a tree of two blocks.
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        stride (int): Of the first block.
        norm_cfg (dict): Norm of the convolutions.
        level_root (bool): Whether the root also sees the pooled input.
        extra_channels (int): Channels of what comes from further out.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        norm_cfg: ConfigType,
        level_root: bool = False,
        extra_channels: int = 0,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.level_root = level_root
        self.pool = nn.MaxPool2d(stride) if stride > 1 else nn.Identity()
        extra_channels += in_channels * level_root
        if depth > 1:
            self.tree1 = _Tree(depth - 1, in_channels, out_channels, stride, norm_cfg=norm_cfg)
            self.tree2 = _Tree(
                depth - 1,
                out_channels,
                out_channels,
                1,
                norm_cfg=norm_cfg,
                extra_channels=extra_channels + out_channels,
            )
            return
        self.tree1 = _Block(in_channels, out_channels, stride, norm_cfg=norm_cfg)
        self.tree2 = _Block(out_channels, out_channels, norm_cfg=norm_cfg)
        self.root = ConvModule(
            2 * out_channels + extra_channels, out_channels, 1, norm_cfg=norm_cfg
        )
        self.project = nn.Identity()
        if in_channels != out_channels:
            self.project = nn.Sequential(*_conv_norm(in_channels, out_channels, 1, 1, norm_cfg))

    def forward(self, x: Tensor, outer: tuple[Tensor, ...] = ()) -> Tensor:
        """Aggregate.

        Args:
            x (Tensor): (B, in_channels, H, W).
            outer (tuple[Tensor, ...]): What comes from further out, at the size of the output.

        Returns:
            Tensor: (B, out_channels, H / stride, W / stride).
        """
        if self.level_root:
            outer = (*outer, self.pool(x))
        if self.depth > 1:
            first = self.tree1(x)
            return self.tree2(first, (*outer, first))
        first = self.tree1(x, self.project(self.pool(x)))
        return self.root(torch.cat((self.tree2(first, first), first, *outer), 1))


@MODELS.register_module()
class DLA(BaseModule):
    """The backbone DLA-34, as the official code of CPN has it (without residual roots).

    Deep Layer Aggregation (Yu et al., arXiv 1707.06484). Its tensors have the names of the authors'
    ImageNet file, ``dla34-ba72cf86.pth``, so ``init_cfg=dict(type='Pretrained', checkpoint=...)``
    loads that; the file's ``fc`` and ``level3.project``, ``level4.project`` are for nothing here.

    Args:
        channels (Sequence[int]): Channels of levels 0 to 5, which have strides 1 to 32.
        out_indices (Sequence[int]): Levels that are returned.
        norm_cfg (dict): Norm of the convolutions.
        init_cfg (dict | None): By default convolutions are initialised as in ResNets.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128, 256, 512),
        out_indices: Sequence[int] = (2, 3, 4, 5),
        norm_cfg: ConfigType = dict(type="BN", requires_grad=True),
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            init_cfg
            or [
                dict(type="Kaiming", layer="Conv2d"),
                dict(type="Constant", val=1, layer=["_BatchNorm", "GroupNorm"]),
            ]
        )
        if len(channels) != 6 or not set(out_indices) <= set(range(6)):
            raise ValueError(
                f"DLA has levels 0 to 5, got channels={tuple(channels)} and "
                f"out_indices={tuple(out_indices)}."
            )
        self.out_indices = tuple(out_indices)
        stem = dict(norm_cfg=norm_cfg)
        self.base_layer = nn.Sequential(*_conv_norm(3, channels[0], 7, 1, **stem), nn.ReLU(True))
        self.level0 = nn.Sequential(
            *_conv_norm(channels[0], channels[0], 3, 1, **stem), nn.ReLU(True)
        )
        self.level1 = nn.Sequential(
            *_conv_norm(channels[0], channels[1], 3, 2, **stem), nn.ReLU(True)
        )
        for level, depth in enumerate(_DEPTHS, start=2):
            if level <= max(self.out_indices):
                tree = _Tree(
                    depth,
                    *channels[level - 1 : level + 1],
                    2,
                    norm_cfg=norm_cfg,
                    level_root=level > 2,
                )
                self.add_module(f"level{level}", tree)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the levels.

        Args:
            x (Tensor): (B, 3, H, W), both sides a multiple of the coarsest stride or one less.

        Returns:
            tuple[Tensor, ...]: A (B, channels[i], H / 2^i, W / 2^i) map for each of
            ``out_indices``.

        Raises:
            ValueError: A side of the image cannot be halved so often.
        """
        stride = 2 ** max(self.out_indices)
        if any((side + 1) // 2 % max(stride // 2, 1) for side in x.shape[-2:]):
            raise ValueError(
                f"DLA got images of {tuple(x.shape[-2:])} pixels. Expected multiples of {stride} "
                "(or one less): pad with mmext.ScaledCenterPad(pad_bits=31, pad_extra=1), or set "
                f"data_preprocessor.pad_size_divisor={stride}."
            )
        x = self.base_layer(x)
        outs = []
        for level in range(max(self.out_indices) + 1):
            x = getattr(self, f"level{level}")(x)
            if level in self.out_indices:
                outs.append(x)
        return tuple(outs)
