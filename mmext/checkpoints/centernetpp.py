"""Checkpoints of the official CenterNet++ code (mmdet 2.11) in the names of mmext."""

from collections.abc import Mapping

from torch import Tensor

from .convert_rules import Conversion, Rule, rename, strip_prefix

_HEAD = "bbox_head."


def _head_rules() -> list[Rule]:
    """Rules for the tensors of the real-time head, without the ``bbox_head.`` prefix.

    There is a rule per predictor and parameter, so that the absence of any one is noticed. The norm
    behind a deformable convolution is called ``bn`` there, although it is a group norm.
    """
    rules = []
    for side in ("tl", "br"):
        for tower in ("cls_convs", "reg_convs"):
            for leaf in (
                r"conv\.weight",
                r"conv\.bias",
                r"conv\.conv_offset\.weight",
                r"conv\.conv_offset\.bias",
            ):
                rules.append(
                    (rf"{side}_{tower}\.(\d+)\.({leaf})", rf"branches.{side}.{tower}.\1.\2")
                )
            for leaf in ("weight", "bias"):
                for norm in ("gn", "bn"):
                    rules.append(
                        (
                            rf"{side}_{tower}\.(\d+)\.{norm}\.{leaf}",
                            rf"branches.{side}.{tower}.\1.gn.{leaf}",
                        )
                    )
        for part in ("cls", "pts_init", "pts_refine"):
            for layer in ("conv", "out"):
                for leaf in ("weight", "bias"):
                    rules.append(
                        (
                            rf"pycenter_{side}_{part}_{layer}\.{leaf}",
                            rf"branches.{side}.{part}_{layer}.{leaf}",
                        )
                    )
    for leaf in (r"conv\.weight", r"gn\.weight", r"gn\.bias"):
        rules.append((rf"shared_convs\.(\d+)\.({leaf})", r"shared_convs.\1.\2"))
        rules.append((rf"pycenter_sem_embedding\.({leaf})", r"sem_embedding.\1"))
    for leaf in ("weight", "bias"):
        rules.append((rf"pycenter_sem_out\.{leaf}", rf"sem_out.{leaf}"))
    return rules


def convert_centernetpp(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Rename the tensors of a real-time CenterNet++ (``PyCenterNet`` with the fast head).

    Backbone and neck have the same names in mmdet 2.11 and today. A state dict of the head alone,
    recognised by having neither a backbone nor the ``bbox_head.`` prefix, becomes one of the head
    alone.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix of DataParallel.

    Returns:
        Conversion: Tensors for :class:`mmext.detection.centernet.CenterNetPlusPlus`, or for its
        ``bbox_head``.
    """
    state_dict = strip_prefix(state_dict, "module.")
    rules = _head_rules()
    if any(name.startswith(("backbone.", _HEAD)) for name in state_dict):
        rules = [(r"bbox_head\." + old, _HEAD + new) for old, new in rules]
    return rename(state_dict, rules, unchanged=("backbone.", "neck."))
