"""What ``torch.onnx.export`` needs to know about the ops of mmext.

Only forward passes: an exported network does not learn. ``import mmext.ops`` leaves this module
alone, since it needs the packages of the ``export`` extra.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from . import _extension
from .corner_pool import _SWEEPS

try:
    from onnxscript import DOUBLE, FLOAT, FLOAT16
    from onnxscript import opset19 as op  # the first with DeformConv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"ONNX export needs {error.name}: pip install 'mmext[export]'", name=error.name
    ) from error

# torch 2.13 writes it by default; DeformConv came with 19.
OPSET_VERSION = 20

TFloat = TypeVar("TFloat", FLOAT, FLOAT16, DOUBLE)


def onnx_translations() -> dict[Callable, Callable]:
    """Return the translations of mmext's ops into standard ONNX operators.

    ``deform_conv2d`` becomes ``DeformConv``, ``corner_pool`` a few ``Slice``, ``Max`` and
    ``Concat``. So the file needs no custom operator, but a runtime with ``DeformConv``: ONNX
    Runtime has it on CPUs since 1.25. ::

        torch.onnx.export(
            model, (x,), "model.onnx",
            opset_version=OPSET_VERSION, custom_translation_table=onnx_translations(),
        )

    Returns:
        dict[Callable, Callable]: The ``custom_translation_table`` of :func:`torch.onnx.export`.

    Raises:
        RuntimeError: mmext's compiled ops are missing; the export knows them by their names in
            ``torch.ops.mmext``, which the pure-torch references leave out.
    """
    if not _extension.LOADED:
        raise RuntimeError(
            "ONNX export needs mmext's compiled ops, which are not built or do not load. Build "
            "them: `make env` in a clone, or `python setup.py build_ext --inplace`."
        )
    return {
        torch.ops.mmext.deform_conv2d.default: _deform_conv2d,
        torch.ops.mmext.corner_pool.default: _corner_pool,
    }


def _deform_conv2d(
    x: TFloat,
    offset: TFloat,
    weight: TFloat,
    bias: TFloat | None,
    mask: TFloat | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    deform_groups: int,
) -> TFloat:
    """Translate :func:`mmext.ops.deform_conv2d`; both mean the same, border included."""
    return op.DeformConv(
        x,
        weight,
        offset,
        bias,
        mask,
        kernel_shape=weight.shape[2:],
        strides=stride,
        pads=(*padding, *padding),
        dilations=dilation,
        group=groups,
        offset_group=deform_groups,
    )


def _corner_pool(x: TFloat, mode: str) -> TFloat:
    """Translate :func:`mmext.ops.corner_pool` into shifted maxima.

    ONNX has no running maximum. After a shift by 1, 2, 4 and so on each element is the maximum of
    2, 4, 8 ... elements of its side.
    """
    axis, backwards = _SWEEPS[mode]
    axis += len(x.shape)
    size = x.shape[axis]
    if not isinstance(size, int):
        raise ValueError(
            f"corner_pool: axis {axis} of {mode!r} has the dynamic size {size}, and the number of "
            "steps depends on it. Export with a fixed height and width."
        )

    def part(tensor: TFloat, start: int, end: int) -> TFloat:
        return op.Slice(tensor, [start], [end], [axis])

    shift = 1
    while shift < size:
        near, far = part(x, 0, size - shift), part(x, shift, size)
        both = op.Max(near, far)
        rest = part(x, size - shift, size) if backwards else part(x, 0, shift)
        x = op.Concat(*((both, rest) if backwards else (rest, both)), axis=axis)
        shift *= 2
    return x
