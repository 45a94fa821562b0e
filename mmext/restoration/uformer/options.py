"""The named architectures of Uformer, and what its options may be."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .attention import PROJECTIONS
from .feed_forward import FEED_FORWARDS

LEVELS = 4
STAGES = 2 * LEVELS + 1
ARCHITECTURES: dict[str, tuple[int, tuple[int, ...]]] = {
    "T": (16, (2,) * STAGES),
    "S": (32, (2,) * STAGES),
    "B": (32, (1, 2, 8, 8, 2, 8, 8, 2, 1)),
}
_CHOICES = {
    "arch": (None, *ARCHITECTURES),
    "token_projection": tuple(PROJECTIONS),
    "token_mlp": tuple(FEED_FORWARDS),
    "skip": ("concat", "cross", "concat_cross"),
}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise a ValueError that names the option of Uformer which does not fit."""
    for name, allowed in _CHOICES.items():
        if options[name] not in allowed:
            words = ", ".join(repr(choice) for choice in allowed)
            raise ValueError(f"Uformer: {name} must be one of {words}, got {options[name]!r}.")
    for name in ("window_size", "mlp_ratio", "dd_in"):
        _check_positive(name, options[name])
    if options["window_size"] < 2:
        raise ValueError(
            f"Uformer: window_size must be at least 2, got {options['window_size']}; a window of "
            "one token has nothing to attend to."
        )
    if not 0 <= options["drop_path_rate"] < 1:
        raise ValueError(
            f"Uformer: drop_path_rate must be in [0, 1), got {options['drop_path_rate']!r}."
        )
    _check_combinations(options)


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"Uformer: {name} must be a positive integer, got {value!r}.")


def _check_combinations(options: Mapping[str, Any]) -> None:
    """Refuse options that would have no effect, or that need another one."""
    skip = options["skip"]
    if skip != "concat":
        for name in ("modulator", "cross_modulator"):
            if options[name]:
                raise ValueError(
                    f"Uformer: {name}=True needs skip='concat', got skip={skip!r}. Version 1 of "
                    f"the paper, which has the other skips, has no modulators: set {name}=False."
                )
        if options["token_projection"] != "linear":
            raise ValueError(
                f"Uformer: skip={skip!r} needs token_projection='linear', got "
                f"{options['token_projection']!r}."
            )
    if options["misaligned_concat_cross"] and skip != "concat_cross":
        raise ValueError(
            f"Uformer: misaligned_concat_cross=True needs skip='concat_cross', got {skip!r}."
        )
    if options["bottleneck_shift"] and not options["shift"]:
        raise ValueError(
            "Uformer: bottleneck_shift=True needs shift=True; set bottleneck_shift=False."
        )
    if options["residual"] and options["dd_in"] != 3:
        raise ValueError(
            f"Uformer: residual=True needs dd_in=3, got {options['dd_in']}: the output has three "
            "channels and cannot be added to the input. Set residual=False."
        )


def resolve_architecture(
    arch: str | None,
    embed_dim: int | None,
    depths: Sequence[int] | None,
    num_heads: Sequence[int] | None,
    skip: str,
) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return width, depths and heads, from a name or given one by one.

    Args:
        arch (str | None): Key of ``ARCHITECTURES``.
        embed_dim (int | None): Channels of the first level.
        depths (Sequence[int] | None): Blocks of the nine stages.
        num_heads (Sequence[int] | None): Heads of the nine stages; None for heads of ``embed_dim``
            channels.
        skip (str): ``concat`` doubles the channels of the decoder.

    Returns:
        tuple[int, tuple[int, ...], tuple[int, ...]]: The three.

    Raises:
        ValueError: Too much or too little is given, or it does not go together.
    """
    if arch is not None and not (embed_dim is None and depths is None):
        raise ValueError(
            f"Uformer: arch={arch!r} gives embed_dim and depths; leave those two out, or arch."
        )
    if arch is not None:
        embed_dim, depths = ARCHITECTURES[arch]
    elif embed_dim is None or depths is None:
        raise ValueError(
            f"Uformer: set arch to one of {', '.join(ARCHITECTURES)}, or both embed_dim and depths."
        )
    _check_positive("embed_dim", embed_dim)
    decoder = 2 if skip == "concat" else 1
    widths = [2**i for i in range(LEVELS + 1)]
    widths += [decoder * width for width in reversed(widths[:-1])]
    num_heads = tuple(widths) if num_heads is None else num_heads
    for name, values in (("depths", depths), ("num_heads", num_heads)):
        if len(values) != STAGES:
            raise ValueError(
                f"Uformer: {name} needs {STAGES} numbers (encoder, bottleneck, decoder), got "
                f"{len(values)}: {tuple(values)}."
            )
        for i, value in enumerate(values):
            _check_positive(f"{name}[{i}]", value)
    for i, (heads, width) in enumerate(zip(num_heads, widths, strict=True)):
        if embed_dim * width % heads:
            raise ValueError(
                f"Uformer: num_heads[{i}] must divide the {embed_dim * width} channels of that "
                f"stage, got {heads}."
            )
    return embed_dim, tuple(depths), tuple(num_heads)


def drop_path_rates(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Return the drop path probability of each block, by stage.

    Args:
        rate (float): The highest one: that of the bottleneck and the blocks next to it.
        depths (Sequence[int]): Blocks of the nine stages.

    Returns:
        list[list[float]]: Rising from 0 through the encoder, falling to 0 through the decoder.
    """
    encoder, decoder = sum(depths[:LEVELS]), sum(depths[LEVELS + 1 :])
    rates = [
        *np.linspace(0, rate, encoder).tolist(),
        *[rate] * depths[LEVELS],
        *np.linspace(rate, 0, decoder).tolist(),
    ]
    ends = np.cumsum(depths)
    return [rates[end - depth : end] for end, depth in zip(ends, depths, strict=True)]


def check_input(x: Tensor, dd_in: int, multiple: int) -> None:
    """Raise a ValueError that says what is wrong with an input of the network.

    Args:
        x (Tensor): What was given.
        dd_in (int): Channels that the network was built for.
        multiple (int): What both sides must be a multiple of.
    """
    shape = tuple(x.shape)
    if x.dim() != 4 or shape[1] != dd_in:
        raise ValueError(
            f"Uformer: the input must be (B, {dd_in}, H, W) because dd_in={dd_in}, got {shape}."
        )
    if not x.is_floating_point():
        raise ValueError(
            f"Uformer: the input must be floating point in [0, 1], got {x.dtype}; divide 8-bit "
            "images by 255."
        )
    if 0 in shape:
        raise ValueError(f"Uformer: the input must not be empty, got {shape}.")
    if shape[2] % multiple or shape[3] % multiple:
        raise ValueError(
            f"Uformer: misaligned_concat_cross=True needs height and width to be multiples of "
            f"{multiple}, got {shape[2]} x {shape[3]}; set misaligned_concat_cross=False, "
            f"or test_cfg=dict(pad_multiple={multiple}) of the restorer."
        )
