"""Checkpoints of the official Uformer code, versions 1 and 2, in the names of mmext and back."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .convert_rules import Conversion, strip_prefix

# The restorer's name of the network.
_PREFIX = "generator."
# Crops that the official scripts train on.
TASK_PATCHES = {"sidd": 128, "gopro": 256}
_STAGES = (
    *(f"encoderlayer_{i}" for i in range(4)),
    "conv",
    *(f"decoderlayer_{i}" for i in range(4)),
)
# Pairs of our name and the official ones, whose rows follow each other in our tensor.
_OUTSIDE = (
    (r"stem\.", "input_proj.proj.0."),
    (r"head\.", "output_proj.proj.0."),
    (r"downs\.(\d)\.", r"dowsample_\1.conv.0."),
    (r"ups\.(\d)\.", r"upsample_\1.deconv.0."),
)
_STAGE_NAMES = (
    (r"encoder\.(\d)\.", r"encoderlayer_\1.blocks."),
    (r"bottleneck\.", "conv.blocks."),
    (r"decoder\.(\d)\.", r"decoderlayer_\1.blocks."),
)
_IN_BLOCKS = {
    "attn.norm.": ("norm1.",),
    "attn.modulator": ("modulator.weight",),
    "attn.bias.table": ("attn.relative_position_bias_table",),
    "attn.qkv.q.": ("attn.qkv.to_q.",),
    "attn.qkv.k.": ("attn.qkv.to_k.",),
    "attn.qkv.v.": ("attn.qkv.to_v.",),
    "attn.qkv.": ("attn.qkv.to_q.", "attn.qkv.to_kv."),
    "attn.proj.": ("attn.proj.",),
    "cross_modulator.table": ("cross_modulator.weight",),
    "cross_modulator.q.": ("cross_attn.qkv.to_q.",),
    "cross_modulator.kv.": ("cross_attn.qkv.to_kv.",),
    "cross_modulator.proj.": ("cross_attn.proj.",),
    "cross_attn.norm.": ("norm2.",),
    "cross_attn.norm_kv.": ("norm_kv.",),
    "cross_attn.bias.table": ("cross_attn.relative_position_bias_table",),
    "cross_attn.q.": ("cross_attn.qkv.to_q.",),
    "cross_attn.qkv.": ("cross_attn.qkv.to_qkv.",),
    "cross_attn.kv.": ("cross_attn.qkv.to_kv.",),
    "cross_attn.proj.": ("cross_attn.proj.",),
    "ffn.norm.": ("norm2.",),
    "ffn.fc1.": ("mlp.linear1.0.",),
    "ffn.dwconv.": ("mlp.dwconv.0.",),
    "ffn.fc2.": ("mlp.linear2.0.",),
}
# Where a block has other names because of what else is in it.
_IN_CROSS_BLOCKS = {"ffn.norm.": ("norm3.",)}
_IN_CONCAT_CROSS_BLOCKS = {"cross_attn.norm.": ("norm1.",)}
_IN_FFN = {"ffn.fc1.": ("mlp.fc1.",), "ffn.fc2.": ("mlp.fc2.",)}


def convert_uformer(
    state_dict: Mapping[str, Tensor], *, task: str | None = None, patch_size: str | None = None
) -> Conversion:
    """Rename and fuse the tensors of an official Uformer of version 1 or 2.

    What the network looks like is read off the names and shapes, so that every tensor that is
    missing or of another shape is noticed. Indices of relative positions, which can be computed,
    and the ``norm_cross`` of cross modulators, which the official code does not use, are left out.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix that its files have.
        task (str | None): ``sidd`` or ``gopro``: what the weights were trained for. The files do
            not say.
        patch_size (str | None): Side of the crops of the training. None: that of the task.

    Returns:
        Conversion: Tensors for an :class:`mmext.restoration.ImageRestorer` of an
        :class:`mmext.restoration.uformer.Uformer`, whose options are ``meta["model"]``. With a
        patch size, its ``bottleneck_shift`` is that of the training.

    Raises:
        ValueError: ``task`` or ``patch_size`` is not what it can be.
    """
    meta = _training_meta(task, patch_size)
    state_dict = strip_prefix(state_dict, "module.")
    absent = [name for name in _telling_names(state_dict) if name not in state_dict]
    if absent:
        return Conversion({}, [], absent)
    options = _options_of(state_dict)
    if "patch_size" in meta:
        options["bottleneck_shift"] = meta["patch_size"] // 16 > options["window_size"]
    meta["model"] = dict(type="mmext.Uformer", **options)
    converted, used, problems = {}, set(), []
    for name, shape in _shapes(options).items():
        theirs = official_names(name, options)
        used.update(theirs)
        missing = [part for part in theirs if part not in state_dict]
        if missing:
            absent += missing
            continue
        tensor = torch.cat([state_dict[part] for part in theirs])
        if tensor.shape != shape:
            found = ", ".join(f"{part} {tuple(state_dict[part].shape)}" for part in theirs)
            problems.append(f"{found}: together they should be {tuple(shape)}")
        converted[_PREFIX + name] = tensor
    rest = [name for name in state_dict if name not in used and not _is_dispensable(name)]
    return Conversion(converted, rest + problems, absent, meta)


def to_official(state_dict: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Undo :func:`convert_uformer`: what the official code loads with ``strict=True``.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of a ``Uformer``, or of a restorer with one.
        options (Mapping[str, Any]): Options of the ``Uformer``, as in ``meta["model"]``.

    Returns:
        dict[str, Tensor]: Tensors in official names, with the index buffers. The norms that the
        official code does not use are those of a new network.
    """
    official: dict[str, Tensor] = {}
    for name, tensor in strip_prefix(state_dict, _PREFIX).items():
        theirs = official_names(name, options)
        # Queries beside keys and values: one part and two.
        parts = tensor.chunk(3) if len(theirs) == 2 else (tensor,)
        official[theirs[0]] = parts[0].clone()
        if len(theirs) == 2:
            official[theirs[1]] = torch.cat(parts[1:])
    for name in list(official):
        if name.endswith("relative_position_bias_table"):
            index = _position_index(options["window_size"]).to(official[name].device)
            official[name.replace("bias_table", "index")] = index
        elif name.endswith("cross_modulator.weight"):
            norm = name.replace("cross_modulator", "norm_cross")
            official[norm] = torch.ones_like(official[name][0])
            official[norm.replace("weight", "bias")] = torch.zeros_like(official[name][0])
    return official


def official_names(name: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the official names of a tensor of ours, whose rows follow each other in it.

    Args:
        name (str): Name in a ``Uformer``.
        options (Mapping[str, Any]): Options of the network, with ``skip`` and ``token_mlp``.

    Returns:
        tuple[str, ...]: One name; two for fused queries, keys and values.
    """
    for pattern, replacement in _OUTSIDE:
        if re.match(pattern, name):
            return (re.sub(pattern, replacement, name),)
    inside = dict(_IN_BLOCKS)
    if options["token_mlp"] == "ffn":
        inside |= _IN_FFN
    if name.startswith("decoder."):
        inside |= {"cross": _IN_CROSS_BLOCKS, "concat_cross": _IN_CONCAT_CROSS_BLOCKS}.get(
            options["skip"], {}
        )
    for pattern, replacement in _STAGE_NAMES:
        stage = re.match(pattern + r"(\d+)\.", name)
        if stage:
            rest = name[stage.end() :]
            ours = max((key for key in inside if rest.startswith(key)), key=len)
            block = re.sub(pattern, replacement, stage.group())
            return tuple(block + theirs + rest[len(ours) :] for theirs in inside[ours])
    raise KeyError(f"{name} is no tensor of a Uformer")


def _training_meta(task: str | None, patch_size: str | None) -> dict[str, Any]:
    """Check what the user says about the training."""
    meta: dict[str, Any] = {}
    if task is not None:
        if task not in TASK_PATCHES:
            raise ValueError(f"task must be one of {', '.join(TASK_PATCHES)}, got {task!r}")
        meta.update(task=task, patch_size=TASK_PATCHES[task])
    if patch_size is not None:
        if not str(patch_size).isdecimal() or int(patch_size) < 1 or int(patch_size) % 16:
            raise ValueError(f"patch_size must be a multiple of 16 pixels, got {patch_size!r}")
        meta["patch_size"] = int(patch_size)
    return meta


def _telling_names(state_dict: Mapping[str, Tensor]) -> list[str]:
    """Return the tensors from which the options are read."""
    names = ["input_proj.proj.0.weight", _ffn_name(state_dict)]
    return names + [_table_name(state_dict, stage) for stage in _STAGES]


def _has(state_dict: Mapping[str, Tensor], part: str) -> bool:
    """Tell whether a part of a name occurs anywhere: one lost tensor is no other architecture."""
    return any(part in name for name in state_dict)


def _ffn_name(state_dict: Mapping[str, Tensor]) -> str:
    plain = _has(state_dict, ".mlp.fc1.")
    return f"encoderlayer_0.blocks.0.mlp.{'fc1' if plain else 'linear1.0'}.weight"


def _table_name(state_dict: Mapping[str, Tensor], stage: str) -> str:
    concat = stage.startswith("decoder") and _has(state_dict, ".cross_attn.qkv.to_qkv.")
    return f"{stage}.blocks.0.{'cross_attn' if concat else 'attn'}.relative_position_bias_table"


def _options_of(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the options of a Uformer off its tensors; those that leave no trace stay out."""
    embed_dim, dd_in = state_dict["input_proj.proj.0.weight"].shape[:2]
    tables = [state_dict[_table_name(state_dict, stage)] for stage in _STAGES]
    numbers = {
        stage: [
            int(m[1]) for m in (re.match(rf"{stage}\.blocks\.(\d+)\.", n) for n in state_dict) if m
        ]
        for stage in _STAGES
    }
    skip = "concat"
    if _has(state_dict, ".cross_attn.qkv.to_qkv."):
        skip = "concat_cross"
    elif _has(state_dict, ".norm_kv."):
        skip = "cross"
    ffn = _ffn_name(state_dict)
    options = dict(
        embed_dim=embed_dim,
        depths=[1 + max(numbers[stage]) for stage in _STAGES],
        num_heads=[table.shape[1] for table in tables],
        window_size=(round(len(tables[0]) ** 0.5) + 1) // 2,
        mlp_ratio=len(state_dict[ffn]) // embed_dim,
        dd_in=dd_in,
        modulator=_has(state_dict, ".modulator."),
        cross_modulator=_has(state_dict, ".cross_modulator."),
        token_projection="conv" if _has(state_dict, ".depthwise.") else "linear",
        token_mlp="ffn" if "fc1" in ffn else "leff",
        skip=skip,
    )
    if skip == "concat_cross":
        options["misaligned_concat_cross"] = True  # as these weights were trained
    return options


def _shapes(options: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Return names and shapes of the tensors of a Uformer, without making it."""
    from mmext.restoration.uformer import Uformer  # with mmcv, which other families do not need

    with torch.device("meta"):
        return {name: t.shape for name, t in Uformer(**options).state_dict().items()}


def _position_index(window: int) -> Tensor:
    """Return the official buffer of indices into the table of a window."""
    from mmext.restoration.uformer.attention import RelativePositionBias

    return RelativePositionBias(window, 1).index.view(window**2, window**2)


def _is_dispensable(name: str) -> bool:
    return name.endswith(".relative_position_index") or ".norm_cross." in name
