"""Checkpoints of the official MI-AOD code (mmdet 2.3) in the names of mmext."""

import re
from collections.abc import Mapping

from torch import Tensor

from .convert_rules import Conversion, Rule, rename, strip_prefix

# Their branches, what ours has before its names, and whether it classifies or regresses.
_BRANCHES = (("f_1", "", "cls"), ("f_2", "f_2_", "cls"), ("f_mil", "f_mil_", "cls"))
_BRANCHES += (("f_r", "", "reg"),)
_LEAVES = ("weight", "bias")


def _numbers(names: Mapping[str, Tensor], pattern: str) -> list[int]:
    """Return the numbers 0 to the highest one in the names that a pattern with one group fits."""
    found = [int(m[1]) for name in names if (m := re.search(pattern, name))]
    return list(range(max(found, default=0) + 1))


def _retina_rules(layers: list[int], head: str) -> list[Rule]:
    """Rules for RetinaNet's head, whose branches are convolutions in a row and an output."""
    rules = []
    for theirs, prefix, kind in _BRANCHES:
        names = {f"{theirs}_convs.{i}.conv": f"{prefix}{kind}_convs.{i}.conv" for i in layers}
        names[f"{theirs}_retina"] = f"{prefix}retina_{kind}"
        for old, new in names.items():
            rules += [(re.escape(f"{head}{old}.{x}"), f"{head}{new}.{x}") for x in _LEAVES]
    return rules


def _ssd_rules(levels: list[int], head: str) -> list[Rule]:
    """Rules for SSD's head, whose branches are a convolution per level."""
    rules = []
    for theirs, prefix, kind in _BRANCHES:
        for i in levels:
            old, new = f"{theirs}_convs.{i}", f"{prefix}{kind}_convs.{i}.0"
            rules += [(re.escape(f"{head}{old}.{x}"), f"{head}{new}.{x}") for x in _LEAVES]
    return rules


def _ssd_neck_rules(layers: list[int]) -> list[Rule]:
    """Rules for the layers behind VGG, which were a part of the backbone in mmdet 2.3."""
    rules = [(r"backbone\.l2_norm\.weight", "neck.l2_norm.weight")]
    for i in layers:
        for leaf in _LEAVES:
            new = f"neck.extra_layers.{i // 2}.{i % 2}.conv.{leaf}"
            rules.append((rf"backbone\.extra\.{i}\.{leaf}", new))
    return rules


def convert_mi_aod(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Rename the tensors of MI-AOD's RetinaNet or SSD300, seen by the names.

    ``f_1`` and ``f_r`` become mmdet's own branches, so a plain ``RetinaNet`` or SSD of mmdet can
    load its part of the result. A state dict of the head alone, recognised by the missing
    ``bbox_head.`` prefix, becomes one of the head alone.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix of DataParallel.

    Returns:
        Conversion: Tensors for a detector of mmdet with
        :class:`mmext.detection.mi_aod.MIAODRetinaHead` or
        :class:`mmext.detection.mi_aod.MIAODSSDHead`, or for such a head.
    """
    state_dict = strip_prefix(state_dict, "module.")
    whole = any(name.startswith(("backbone.", "neck.", "bbox_head.")) for name in state_dict)
    head = "bbox_head." if whole else ""
    numbers = _numbers(state_dict, r"\bf_\w+_convs\.(\d+)\.")
    if any(re.search(r"\bf_\w+_retina\.", name) for name in state_dict):
        rules = _retina_rules(numbers, head)
        return rename(state_dict, rules, unchanged=("backbone.", "neck.") if whole else ())
    rules = _ssd_rules(numbers, head)
    if whole:
        rules += _ssd_neck_rules(_numbers(state_dict, r"^backbone\.extra\.(\d+)\."))
    return rename(state_dict, rules, unchanged=("backbone.features.",) if whole else ())
