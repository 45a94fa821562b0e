"""Checkpoints of the official CPN code in the names of mmext."""

from collections.abc import Mapping

from torch import Tensor

from .convert_rules import Conversion, Rule, rename, strip_prefix
from .keypoint_rules import NORM, conv_norm_rules, hourglass_rules, pool_rules, predictor_rules

# What the official model has but never runs: a box head that is only asked for its targets, and the
# projections of the outer trees of DLA-34.
_UNUSED = (r"bbox_head\..*", r"base\.level[34]\.project\..*")


def _same(names: list[str], old: str, new: str) -> list[Rule]:
    """Rules for tensors whose names differ in the prefix only."""
    return [(old + name.replace(".", r"\."), new + name) for name in names]


def _norm(name: str) -> list[str]:
    """Names of the tensors of a batch norm."""
    return [f"{name}.{leaf}" for leaf in NORM]


def _dla_names() -> list[str]:
    """Names of the tensors of DLA-34, which keeps those of the official code."""
    names = []
    for stem in ("base_layer", "level0", "level1"):
        names += [f"{stem}.0.weight", *_norm(f"{stem}.1")]
    projected = ("level2", "level3.tree1", "level4.tree1", "level5")
    for tree in (*projected, "level3.tree2", "level4.tree2"):
        for block in (f"{tree}.tree1", f"{tree}.tree2"):
            for i in (1, 2):
                names += [f"{block}.conv{i}.weight", *_norm(f"{block}.bn{i}")]
        names += [f"{tree}.root.conv.weight", *_norm(f"{tree}.root.bn")]
        if tree in projected:
            names += [f"{tree}.project.0.weight", *_norm(f"{tree}.project.1")]
    return names


def _dla_up_rules() -> list[Rule]:
    """Rules for DLAUp, which is two modules in the official code."""
    steps = [(rf"dla_up\.ida_{i}\.", f"neck.rounds.{i}.", i + 1) for i in range(3)]
    rules = []
    for old, new, count in (*steps, (r"ida_up\.", "neck.join.", 2)):
        for j in range(count):
            for part in ("proj", "node"):
                theirs = rf"{old}{part}_{j + 1}\."
                rules += conv_norm_rules(theirs + "conv", theirs + r"actf\.0", f"{new}{part}.{j}")
            rules.append((rf"{old}up_{j + 1}\.weight", f"{new}up.{j}.weight"))
    return rules


def roi_feature_rules(old: str, new: str, *, deep: bool) -> list[Rule]:
    """Rules for the convolutions of the map on which proposals are pooled.

    Args:
        old (str): Regular expression of the official prefix, with the dot at its end.
        new (str): Replacement for that prefix.
        deep (bool): Whether there are two convolutions, each normed twice, or one.

    Returns:
        list[Rule]: A rule per tensor, see :func:`mmext.checkpoints.convert_rules.rename`.
    """
    rules = []
    for i in range(1 + deep):
        conv = rf"{old}conv{i + 1}\."
        rules += conv_norm_rules(conv + "conv", conv + "bn", f"{new}{3 * i}")
        if deep:
            rules += _same(list(NORM), rf"{old}bn{i + 1}\.", f"{new}{3 * i + 1}.")
    return rules


def _roi_rules(theirs: str, ours: str, stack: int, *, deep: bool) -> list[Rule]:
    """Rules for a branch of the second stage, in the form of hourglasses (deep) or of DLA-34."""
    new = f"bbox_head.{ours}.{stack}."
    rules = roi_feature_rules(rf"{theirs}s\.{stack}\.", new + "features.", deep=deep)
    old = rf"{theirs}_reduces\.{stack}\."
    if deep:
        rules += conv_norm_rules(old + "0", old + "1", new + "reduce")
    else:
        rules += _same(["weight", "bias"], old + r"0\.", new + "reduce.conv.")
    return rules + _same(["weight", "bias"], old + rf"{2 + deep}\.", new + "out.")


def convert_cpn(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Rename the tensors of CPN with DLA-34, Hourglass-52 or Hourglass-104, seen by the names.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix that its files have. What its model never runs is left out.

    Returns:
        Conversion: Tensors for :class:`mmext.detection.cpn.CPN`.
    """
    state_dict = strip_prefix(state_dict, "module.")
    hourglass = any(name.startswith("kps.") for name in state_dict)
    num_stacks = 1 + any(name.startswith("kps.1.") for name in state_dict)
    if hourglass:
        rules = hourglass_rules(num_stacks)
    else:
        rules = _same(_dla_names(), r"base\.", "backbone.") + _dla_up_rules()
    for i in range(num_stacks):
        for corner in ("tl", "br"):
            rules += pool_rules(
                rf"{corner}_cnvs\.{i}\.", f"bbox_head.pools.{i}.{corner}.", cascade=True
            )
            for theirs, ours in (("heats", "heats"), ("regrs", "offsets")):
                rules += predictor_rules(
                    rf"{corner}_{theirs}\.{i}\.", f"bbox_head.{ours}.{i}.{corner}."
                )
        for theirs, ours in (("grouping", "groupings"), ("region", "regions")):
            rules += _roi_rules(theirs, ours, i, deep=hourglass)
    return rename(state_dict, rules, unused=_UNUSED)
