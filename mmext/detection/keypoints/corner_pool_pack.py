"""Corner pooling with its convolutions, as a block."""

from typing import Literal

from mmcv.cnn import ConvModule
from mmdet.utils import ConfigType
from torch import Tensor, nn
from torch.nn import functional as F

from mmext.ops import corner_pool

# A top-left corner sees what lies below and to the right of it, a bottom-right one the opposite.
POOL_MODES = {"tl": ("top", "left"), "br": ("bottom", "right")}


class CornerPoolPack(nn.Module):
    """Pool features towards a corner in both directions, beside a shortcut.

    ``out(relu(norm(conv(pool(a(x)) + pool(b(x)))) + norm(skip(x))))``, where ``a``, ``b`` and
    ``out`` are convolution, norm and ReLU.

    Source: CornerNet (Law and Deng, arXiv 1808.01244), section 3.3, in the form of the official
    CenterNet++ code: group norm, and a 1x1 convolution at the end, where CornerNet has a 3x3 one.

    Args:
        channels (int): Channels that come in and go out.
        pool_channels (int): Channels that are pooled (official ``corner_dim``).
        corner (str): ``tl`` or ``br``.
        norm_cfg (dict): Norm of every convolution.
    """

    def __init__(
        self,
        channels: int,
        *,
        pool_channels: int,
        corner: Literal["tl", "br"],
        norm_cfg: ConfigType,
    ) -> None:
        super().__init__()
        self.first_mode, self.second_mode = POOL_MODES[corner]
        self.first_conv = ConvModule(channels, pool_channels, 3, padding=1, norm_cfg=norm_cfg)
        self.second_conv = ConvModule(channels, pool_channels, 3, padding=1, norm_cfg=norm_cfg)
        self.pool_conv = ConvModule(
            pool_channels, channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=None
        )
        self.skip_conv = ConvModule(channels, channels, 1, norm_cfg=norm_cfg, act_cfg=None)
        self.out_conv = ConvModule(channels, channels, 1, norm_cfg=norm_cfg)
        # The official block has plain convolutions here, which start in torch's way.
        self.pool_conv.conv.reset_parameters()
        self.skip_conv.conv.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Pool.

        Args:
            x (Tensor): (B, channels, H, W).

        Returns:
            Tensor: (B, channels, H, W).
        """
        first = corner_pool(self.first_conv(x), self.first_mode)
        second = corner_pool(self.second_conv(x), self.second_mode)
        return self.out_conv(F.relu(self.pool_conv(first + second) + self.skip_conv(x)))
