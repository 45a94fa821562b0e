"""Rules for what the checkpoints of CornerNet's descendants (CenterNet, CPN) have in common."""

import re

from .convert_rules import Rule

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def conv_norm_rules(old_conv: str, old_norm: str, new: str) -> list[Rule]:
    """Rules for a convolution without bias and its batch norm, one per tensor.

    Args:
        old_conv (str): Regular expression of the official prefix of the convolution, without a dot.
        old_norm (str): The same of its norm.
        new (str): New prefix of the ``ConvModule``, without a dot.

    Returns:
        list[Rule]: See :func:`mmext.checkpoints.convert_rules.rename`.
    """
    rules = [(rf"{old_conv}\.weight", rf"{new}.conv.weight")]
    return rules + [(rf"{old_norm}\.{leaf}", rf"{new}.bn.{leaf}") for leaf in NORM]


def pool_rules(old: str, new: str, *, cascade: bool) -> list[Rule]:
    """Rules for a pooling block of the hourglass detectors (CornerNet's descendants).

    Args:
        old (str): Regular expression of the official prefix, with the dot at its end.
        new (str): Replacement for that prefix.
        cascade (bool): Whether it is cascade corner pooling, or center pooling.

    Returns:
        list[Rule]: A rule per tensor, see :func:`mmext.checkpoints.convert_rules.rename`.
    """
    parts = {
        "p1_conv1": "first",
        "p2_conv1": "second",
        "conv2": "out",
        "look_conv1": "look_first",
        "look_conv2": "look_second",
    }
    rules = []
    for theirs, ours in parts.items():
        if cascade or not theirs.startswith("look"):
            rules += conv_norm_rules(f"{old}{theirs}\\.conv", f"{old}{theirs}\\.bn", new + ours)
    rules += conv_norm_rules(f"{old}p_conv1", f"{old}p_bn1", f"{new}merge")
    rules += conv_norm_rules(f"{old}conv1", f"{old}bn1", f"{new}shortcut")
    if cascade:
        rules.append((rf"{old}P1_look_conv\.weight", f"{new}inner_first.weight"))
        rules.append((rf"{old}P2_look_conv\.weight", f"{new}inner_second.weight"))
    return rules


def predictor_rules(old: str, new: str) -> list[Rule]:
    """Rules for the two convolutions in front of an output, arguments as in :func:`pool_rules`."""
    rules = []
    for leaf in ("weight", "bias"):
        rules.append((rf"{old}0\.conv\.{leaf}", f"{new}0.conv.{leaf}"))
        rules.append((rf"{old}1\.{leaf}", f"{new}1.{leaf}"))
    return rules


def hourglass_rules(num_stacks: int, new: str = "backbone.") -> list[Rule]:
    """Rules for the hourglass of the official code and mmdet's ``HourglassNet``.

    Args:
        num_stacks (int): 1 for Hourglass-52, 2 for Hourglass-104.
        new (str): Prefix of the new names.

    Returns:
        list[Rule]: A rule per tensor outside the residual blocks. The blocks of an hourglass, whose
        names are the same in both but for ``skip``, share theirs.
    """
    rules = conv_norm_rules(r"pre\.0\.conv", r"pre\.0\.bn", f"{new}stem.0")
    blocks = [(r"pre\.1\.", f"{new}stem.1.0.")]
    for i in range(num_stacks):
        rules += conv_norm_rules(rf"cnvs\.{i}\.conv", rf"cnvs\.{i}\.bn", f"{new}out_convs.{i}")
        blocks.append((rf"kps\.{i}\.((?:\w+\.)+)", rf"{new}hourglass_modules.{i}.\1"))
    for i in range(num_stacks - 1):
        blocks.append((rf"inters\.{i}\.", f"{new}inters.{i}."))
        for theirs, ours in (("inters_", "conv1x1s"), ("cnvs_", "remap_convs")):
            prefix = rf"{theirs}\.{i}\."
            rules += conv_norm_rules(prefix + "0", prefix + "1", f"{new}{ours}.{i}")
    norms = [f"{norm}.{leaf}" for norm in ("bn1", "bn2") for leaf in NORM]
    for theirs, ours in blocks:
        for name in ("conv1.weight", "conv2.weight", *norms):
            rules.append((theirs + re.escape(name), ours + name))
        if "inters" not in theirs:
            rules += [(rf"{theirs}skip\.0\.weight", f"{ours}downsample.0.weight")]
            rules += [(rf"{theirs}skip\.1\.{leaf}", f"{ours}downsample.1.{leaf}") for leaf in NORM]
    return rules
