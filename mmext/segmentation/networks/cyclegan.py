"""The networks of CycleGAN (arXiv 1703.10593): a generator of images, a judge of patches."""

from collections.abc import Callable
from functools import partial

from mmengine.model import BaseModule
from mmseg.utils import ConfigType
from torch import Tensor, nn
from torch.nn import functional

from mmext.registry import MODELS

from .returning_clamp import returning_clamp

_INIT = dict(type="Normal", layer=["Conv2d", "ConvTranspose2d"], std=0.02)


_Norm = Callable[[int], nn.Module]
"""Makes what follows a convolution of so many channels."""


def _norm_of(norm: bool, track_running_stats: bool) -> _Norm:
    if not norm:
        return nn.Identity
    return partial(nn.InstanceNorm2d, track_running_stats=track_running_stats)


def _conv_norm(conv: nn.Conv2d | nn.ConvTranspose2d, norm: _Norm) -> nn.Sequential:
    """Put a norm and a ReLU behind a convolution."""
    return nn.Sequential(conv, norm(conv.out_channels), nn.ReLU(inplace=True))


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions with norms, and nothing after the addition."""

    def __init__(self, channels: int, norm: _Norm) -> None:
        super().__init__()
        conv = dict(kernel_size=3, padding=1, padding_mode="reflect")
        self.conv1 = nn.Conv2d(channels, channels, **conv)
        self.norm1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, **conv)
        self.norm2 = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) features for such."""
        return x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu_()))


@MODELS.register_module()
class CycleGANGenerator(BaseModule):
    """Generator of CycleGAN: some steps down, residual blocks, as many steps up.

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of what is made of them.
        base_channels: Channels at full resolution; each step down doubles them.
        num_blocks: Number of residual blocks, 9 for sides of 256 pixels and more.
        num_downs: Number of steps down. With one, a short training keeps what is thin in an image.
        norm: Whether instance norms follow convolutions. They take away how bright a crop is, which
            a small network then learns slowly to give back. Without them, the initial weights
            should be Kaiming's.
        residual: Whether the network makes the change of an image, which is added to it and clipped
            to [-1, 1] by :func:`returning_clamp`, instead of the image, which goes through tanh. A
            short training then keeps every detail.
        track_running_stats: False: instance norms always use the statistics of the image at hand.
            True: they also keep running averages and use these in ``eval()``, for which the
            official code of 2018 has buffers in its files, though its test script ran in training
            mode and did not use them. The images differ visibly.
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Source: CycleGAN, appendix 7.2, and its official code: norms without scale and shift behind
    convolutions with bias, reflected borders, no ReLU behind a residual addition.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        base_channels: int = 64,
        num_blocks: int = 9,
        num_downs: int = 2,
        norm: bool = True,
        residual: bool = False,
        track_running_stats: bool = False,
        init_cfg: ConfigType | None = _INIT,
    ) -> None:
        super().__init__(init_cfg)
        self.residual = residual
        base, make_norm = base_channels, _norm_of(norm, track_running_stats)
        widths = [base * 2**step for step in range(num_downs)]
        seven = dict(kernel_size=7, padding=3, padding_mode="reflect")
        self.stem = _conv_norm(nn.Conv2d(in_channels, base, **seven), make_norm)
        self.downs = nn.Sequential(
            *(
                _conv_norm(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), make_norm)
                for width in widths
            )
        )
        inner = base * 2**num_downs
        self.blocks = nn.Sequential(*(_ResidualBlock(inner, make_norm) for _ in range(num_blocks)))
        up = dict(kernel_size=3, stride=2, padding=1, output_padding=1)
        self.ups = nn.Sequential(
            *(
                _conv_norm(nn.ConvTranspose2d(2 * width, width, **up), make_norm)
                for width in reversed(widths)
            )
        )
        self.out = nn.Conv2d(base, out_channels, **seven)

    def forward(self, images: Tensor) -> Tensor:
        """Translate images.

        Args:
            images: (B, in_channels, H, W) in [-1, 1], 16 pixels or more per side. Sides that are no
                multiple of ``2**num_downs`` are mirrored up to one, and what comes of that is cut
                off.

        Returns:
            (B, out_channels, H, W) in [-1, 1].
        """
        height, width = images.shape[2:]
        step = 2 ** len(self.downs)
        bottom, right = -height % step, -width % step
        if bottom or right:
            images = functional.pad(images, (0, right, 0, bottom), "reflect")
        x = self.ups(self.blocks(self.downs(self.stem(images))))
        x = self.out(x)
        x = returning_clamp(images + x) if self.residual else x.tanh()
        return x[..., :height, :width]


@MODELS.register_module()
class PatchDiscriminator(BaseModule):
    """Discriminator of CycleGAN: a score for each patch of 70x70 pixels (with three layers).

    Args:
        in_channels: Channels of the images.
        base_channels: Channels of the first convolution; they double up to eightfold.
        num_layers: Number of convolutions of stride 2.
        norm: As for :class:`CycleGANGenerator`.
        track_running_stats: As for :class:`CycleGANGenerator`.
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Source: CycleGAN, appendix 7.2, and its official code, which pads every convolution by 1.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        base_channels: int = 64,
        num_layers: int = 3,
        norm: bool = True,
        track_running_stats: bool = False,
        init_cfg: ConfigType | None = _INIT,
    ) -> None:
        super().__init__(init_cfg)
        make_norm = _norm_of(norm, track_running_stats)
        layers: list[nn.Module] = []
        width = in_channels
        for i in range(num_layers + 1):
            previous, width = width, base_channels * min(2**i, 8)
            stride = 2 if i < num_layers else 1
            layers.append(nn.Conv2d(previous, width, 4, stride=stride, padding=1))
            if i > 0:
                layers.append(make_norm(width))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        layers.append(nn.Conv2d(width, 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Judge images.

        Args:
            images: (B, in_channels, H, W) in [-1, 1].

        Returns:
            (B, 1, H', W') scores, the higher the more real; 30x30 for 256x256 pixels.
        """
        return self.layers(images)
