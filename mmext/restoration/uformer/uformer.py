"""Uformer: encoder, bottleneck and decoder of LeWin blocks."""

from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mmext.registry import MODELS

from .attention import TableAttention, WindowAttention
from .blocks import LeWinBlock
from .options import LEVELS, check_input, check_options, drop_path_rates, resolve_architecture


def channels_last_conv(conv: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution to (B, H, W, C) maps, which are channels-last memory to it."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@MODELS.register_module()
class Uformer(BaseModule):
    """Uformer: a general U-shaped transformer for image restoration (arXiv 2106.03106).

    Images of any size go in, also rectangles and images smaller than a window: at each level the
    map has half the rows and columns of the one above, rounded up, and windows that reach over its
    border ignore what is not there. Sides that are multiples of ``16 * window_size`` give what the
    official code gives, which takes nothing else. (Its test scripts put images into the middle of a
    black square of such sides: ``test_cfg`` of :class:`mmext.restoration.ImageRestorer` can do so.)

    The official code decides at construction, by the training patch, whether the second block of
    the bottleneck shifts its windows: it does for patches of 256 (deblurring) and does not for
    patches of 128 (denoising). Its test scripts build all networks for 128. So published deblurring
    weights were trained with ``bottleneck_shift=True`` and tested with False; the tensors are the
    same. Here it is an option, and no size has a say in it.

    Args:
        arch (str | None): ``T``, ``S`` or ``B``, in place of ``embed_dim`` and ``depths``.
        embed_dim (int | None): Channels of the first level.
        depths (Sequence[int] | None): Blocks of the four encoder levels, the bottleneck and the
            four decoder levels.
        num_heads (Sequence[int] | None): Heads of the same nine. None: as many as make heads of
            ``embed_dim`` channels.
        window_size (int): Side of the attention windows in tokens.
        mlp_ratio (int): Hidden channels of the feed-forward layers per channel.
        dd_in (int): Channels of the input; 6 for dual-pixel pairs.
        modulator (bool): Learned tables that are added to the windows of decoder blocks (section
            3.3).
        cross_modulator (bool): Learned tables that the tokens of decoder blocks attend to (official
            code only).
        shift (bool): Shift the windows of every other block.
        bottleneck_shift (bool): Also in the bottleneck, see above. False is what the official test
            scripts run.
        token_projection (str): ``linear`` or ``conv``, separable convolutions within windows.
        token_mlp (str): ``leff``, with a depth-wise convolution, or ``ffn``.
        skip (str): How encoder features reach the decoder. ``concat`` doubles its channels;
            ``cross`` and ``concat_cross`` are of version 1 of the paper.
        misaligned_concat_cross (bool): Reproduce an error of the official ``concat_cross``, see
            :class:`~.skips.ConcatCrossAttention`. Needs sides that are multiples of
            ``16 * window_size``.
        residual (bool | None): Predict what is to be added to the input. None: if ``dd_in`` is 3.
        drop_path_rate (float): Probability of leaving a branch out, rising from 0 to this through
            the encoder, and falling again through the decoder.
        modulator_std (float): Deviation of the modulators' first values. The official code has 1,
            as large as the normalised tokens that they are added to.
        with_cp (bool): Keep only the input of each block in training, and compute it again in the
            backward pass.
        init_cfg (dict | None): For mmengine.

    Raises:
        ValueError: An option has a value that it cannot have; the message names it.
    """

    def __init__(
        self,
        *,
        arch: Literal["T", "S", "B"] | None = None,
        embed_dim: int | None = None,
        depths: Sequence[int] | None = None,
        num_heads: Sequence[int] | None = None,
        window_size: int = 8,
        mlp_ratio: int = 4,
        dd_in: int = 3,
        modulator: bool = True,
        cross_modulator: bool = False,
        shift: bool = True,
        bottleneck_shift: bool = False,
        token_projection: Literal["linear", "conv"] = "linear",
        token_mlp: Literal["leff", "ffn"] = "leff",
        skip: Literal["concat", "cross", "concat_cross"] = "concat",
        misaligned_concat_cross: bool = False,
        residual: bool | None = None,
        drop_path_rate: float = 0.1,
        modulator_std: float = 1.0,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_options(locals())
        embed_dim, depths, num_heads = resolve_architecture(
            arch, embed_dim, depths, num_heads, skip
        )
        self.dd_in = dd_in
        self.window_size = window_size
        self.bottleneck_shift = bottleneck_shift
        self.residual = dd_in == 3 if residual is None else residual
        self.modulator_std = modulator_std
        self.with_cp = with_cp
        self.multiple = window_size * 2**LEVELS if misaligned_concat_cross else 1

        levels = [embed_dim * 2**level for level in range(LEVELS + 1)]
        doubled = 2 if skip == "concat" else 1
        rates = drop_path_rates(drop_path_rate, depths)

        def blocks(stage: int, dim: int, shifts: bool = shift, **options: object) -> nn.ModuleList:
            return nn.ModuleList(
                LeWinBlock(
                    dim,
                    num_heads=num_heads[stage],
                    window=window_size,
                    shift=window_size // 2 if shifts and number % 2 else 0,
                    mlp_ratio=mlp_ratio,
                    token_projection=token_projection,
                    token_mlp=token_mlp,
                    drop_path=rate,
                    **options,
                )
                for number, rate in enumerate(rates[stage])
            )

        in_decoder = dict(
            modulator=modulator,
            cross_modulator=cross_modulator,
            skip=None if skip == "concat" else skip,
            misaligned=misaligned_concat_cross,
        )
        self.stem = nn.Conv2d(dd_in, embed_dim, 3, padding=1)
        self.encoder = nn.ModuleList(blocks(i, levels[i]) for i in range(LEVELS))
        self.downs = nn.ModuleList(
            nn.Conv2d(levels[i], levels[i + 1], 4, stride=2, padding=1) for i in range(LEVELS)
        )
        self.bottleneck = blocks(LEVELS, levels[LEVELS], shift and bottleneck_shift)
        self.ups, self.decoder = nn.ModuleList(), nn.ModuleList()
        below = levels[LEVELS]
        for i in range(LEVELS):
            level = levels[LEVELS - 1 - i]
            self.ups.append(nn.ConvTranspose2d(below, level, 2, stride=2))
            below = doubled * level
            self.decoder.append(blocks(LEVELS + 1 + i, below, **in_decoder))
        self.head = nn.Conv2d(below, 3, 3, padding=1)
        self.reset_parameters()

    def init_weights(self) -> None:
        """Draw the parameters anew, or load what ``init_cfg`` says."""
        self.reset_parameters()
        super().init_weights()

    def reset_parameters(self) -> None:
        """Initialise as the official code does; convolutions keep torch's default."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm | nn.Conv2d | nn.ConvTranspose2d):
                module.reset_parameters()
            elif isinstance(module, WindowAttention) and module.modulator is not None:
                nn.init.normal_(module.modulator, std=self.modulator_std)
            elif isinstance(module, TableAttention):
                nn.init.normal_(module.table, std=self.modulator_std)
            elif hasattr(module, "table"):
                nn.init.trunc_normal_(module.table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images.

        Args:
            x (Tensor): (B, dd_in, H, W), RGB in [0, 1].

        Returns:
            Tensor: (B, 3, H, W), not clamped.

        Raises:
            ValueError: ``x`` has another shape, or is no floating point tensor.
        """
        check_input(x, self.dd_in, self.multiple)
        if torch.compiler.is_compiling():
            # Layouts of windows are constants of the graph: one graph for each size.
            torch._dynamo.mark_static(x)
        maps = functional.leaky_relu(channels_last_conv(self.stem, x.permute(0, 2, 3, 1)), 0.01)
        skips = []
        for blocks, down in zip(self.encoder, self.downs, strict=True):
            maps = self._run(blocks, maps)
            skips.append(maps)
            odd = (0, 0, 0, maps.shape[2] % 2, 0, maps.shape[1] % 2)
            maps = channels_last_conv(down, functional.pad(maps, odd) if any(odd) else maps)
        maps = self._run(self.bottleneck, maps)
        for up, blocks in zip(self.ups, self.decoder, strict=True):
            skip = skips.pop()
            maps = channels_last_conv(up, maps)[:, : skip.shape[1], : skip.shape[2]]
            if blocks[0].cross_attn is None:
                maps = self._run(blocks, torch.cat((maps, skip), -1))
            else:
                maps = self._run(blocks, maps, skip)
        y = self.head(maps.permute(0, 3, 1, 2)).contiguous()
        return x + y if self.residual else y

    def _run(self, blocks: nn.ModuleList, *maps: Tensor) -> Tensor:
        """Apply the blocks of a stage; the skip, if there is one, is given to each."""
        x, *skip = maps
        for block in blocks:
            if self.with_cp and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, *skip, use_reentrant=False)
            else:
                x = block(x, *skip)
        return x
