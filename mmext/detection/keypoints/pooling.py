"""Cascade corner pooling and center pooling (CenterNet, Duan et al., arXiv 1904.08189, section 3).

Corners and centres of objects often look like nothing. These modules give a cell what lies along
its row and its column, where the object is.
"""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmdet.utils import ConfigType
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmext.ops import corner_pool


class PooledBlock(BaseModule):
    """What both poolings share: two pooled branches, a shortcut, and a last convolution.

    ``out(relu(merge(first + second) + shortcut(x)))``, where a subclass computes ``first`` and
    ``second`` in :meth:`pooled`. The keys of the state dict are those of the ``mmcv.ConvModule``
    that each part is.

    Args:
        in_channels (int): Channels of the input and of the output.
        feat_channels (int): Channels of the pooled maps.
        norm_cfg (dict): Norm of the convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int = 128,
        norm_cfg: ConfigType = dict(type="BN", requires_grad=True),
    ) -> None:
        super().__init__()
        norm = dict(norm_cfg=norm_cfg)
        self.first = ConvModule(in_channels, feat_channels, 3, padding=1, **norm)
        self.second = ConvModule(in_channels, feat_channels, 3, padding=1, **norm)
        self.merge = ConvModule(feat_channels, in_channels, 3, padding=1, act_cfg=None, **norm)
        self.shortcut = ConvModule(in_channels, in_channels, 1, act_cfg=None, **norm)
        self.out = ConvModule(in_channels, in_channels, 3, padding=1, **norm)

    def pooled(self, x: Tensor) -> Tensor:
        """Compute the sum of the pooled branches, (B, feat_channels, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Pool a feature map.

        Args:
            x (Tensor): (B, in_channels, H, W).

        Returns:
            Tensor: (B, in_channels, H, W).
        """
        return self.out(F.relu(self.merge(self.pooled(x)) + self.shortcut(x)))


class CascadeCornerPool(PooledBlock):
    """Corner pooling that looks along the sides of an object and, from there, inside it.

    With ``pool_1`` and ``pool_2`` the two modes, the branches are
    ``pool_1(inner_1(first(x) + pool_2(look_1(x))))`` and the same with 1 and 2 exchanged; ``inner``
    is a bare convolution.

    The paper (section 3) says that a corner first looks along the border and then inside; the
    official code pools inside first. Which of the two a branch does depends on the side it is said
    to look along: each order of the two modes is computed once, and exchanging the modes only
    exchanges the branches. So there is nothing to choose here.

    Args:
        in_channels (int): Channels of the input and of the output.
        modes (Sequence[str]): Two modes of :func:`mmext.ops.corner_pool`, ``("top", "left")`` for
            top-left and ``("bottom", "right")`` for bottom-right corners.
        feat_channels (int): Channels of the pooled maps (official: 128 behind an hourglass).
        norm_cfg (dict): Norm of the convolutions.

    Raises:
        ValueError: ``modes`` are not one vertical and one horizontal mode.
    """

    def __init__(
        self,
        in_channels: int,
        modes: Sequence[str],
        feat_channels: int = 128,
        norm_cfg: ConfigType = dict(type="BN", requires_grad=True),
    ) -> None:
        super().__init__(in_channels, feat_channels, norm_cfg)
        if tuple(modes) not in (("top", "left"), ("bottom", "right")):
            raise ValueError(
                f"modes must be ('top', 'left') or ('bottom', 'right'), got {tuple(modes)}."
            )
        self.modes = tuple(modes)
        look = dict(kernel_size=3, padding=1, norm_cfg=norm_cfg)
        self.look_first = ConvModule(in_channels, feat_channels, **look)
        self.look_second = ConvModule(in_channels, feat_channels, **look)
        self.inner_first = nn.Conv2d(feat_channels, feat_channels, 3, padding=1, bias=False)
        self.inner_second = nn.Conv2d(feat_channels, feat_channels, 3, padding=1, bias=False)

    def pooled(self, x: Tensor) -> Tensor:
        """See :class:`PooledBlock`."""
        mode_1, mode_2 = self.modes
        seen_1 = corner_pool(self.look_first(x), mode_2)
        seen_2 = corner_pool(self.look_second(x), mode_1)
        return corner_pool(self.inner_first(self.first(x) + seen_1), mode_1) + corner_pool(
            self.inner_second(self.second(x) + seen_2), mode_2
        )


class CenterPool(PooledBlock):
    """Center pooling: the maximum of a cell's column plus the maximum of its row.

    The official code runs top and bottom (left and right) corner pooling one after the other, which
    is the maximum of the whole column (row). Where maxima tie, their gradient is shared.

    Args:
        in_channels (int): Channels of the input and of the output.
        feat_channels (int): Channels of the pooled maps.
        norm_cfg (dict): Norm of the convolutions.
    """

    def pooled(self, x: Tensor) -> Tensor:
        """See :class:`PooledBlock`."""
        return self.first(x).amax(-2, keepdim=True) + self.second(x).amax(-1, keepdim=True)
