"""Checkpoints of the official CenterNet++ code (mmdet 2.11) in the names of mmext."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from .convert_rules import Conversion, Rule, rename, strip_prefix

_HEAD = "bbox_head."

_PLAIN_TOWER = {"conv.weight": "conv.weight", "gn.weight": "gn.weight", "gn.bias": "gn.bias"}
# The norm behind a deformable convolution is called ``bn``, although it is a group norm.
_DEFORMABLE_TOWER = {
    "conv.weight": "conv.weight",
    "conv.bias": "conv.bias",
    "conv.conv_offset.weight": "conv.conv_offset.weight",
    "conv.conv_offset.bias": "conv.conv_offset.bias",
    "bn.weight": "gn.weight",
    "bn.bias": "gn.bias",
}
_CORNER_POOL = {
    "p1_conv1.conv.": "first_conv.conv.",
    "p1_conv1.gn.": "first_conv.gn.",
    "p2_conv1.conv.": "second_conv.conv.",
    "p2_conv1.gn.": "second_conv.gn.",
    "p_conv1.": "pool_conv.conv.",
    "p_gn1.": "pool_conv.gn.",
    "conv1.": "skip_conv.conv.",
    "gn1.": "skip_conv.gn.",
    "conv2.conv.": "out_conv.conv.",
    "conv2.gn.": "out_conv.gn.",
}


def _pairs(old: str, new: str, leaves: Iterable[str] = ("weight", "bias")) -> list[Rule]:
    """Rules for the parameters of one layer; ``#`` stands for the number of a layer."""
    pattern = re.escape(old).replace(r"\#", r"(\d+)")
    return [(pattern + leaf, new.replace("#", r"\1") + leaf) for leaf in leaves]


def _shared_rules(towers: Iterable[Mapping[str, str]]) -> list[Rule]:
    """Rules for what both heads have, without the ``bbox_head.`` prefix.

    There is a rule per layer and parameter, so that the absence of any one is noticed.
    """
    rules = []
    for side in ("tl", "br"):
        for tower in ("cls_convs", "reg_convs"):
            names = {old: new for kind in towers for old, new in kind.items()}
            for old, new in names.items():
                rules += _pairs(f"{side}_{tower}.#.{old}", f"branches.{side}.{tower}.#.{new}", [""])
        for layer in ("cls_out", "pts_init_conv", "pts_init_out", "pts_refine_out"):
            rules += _pairs(f"pycenter_{side}_{layer}.", f"branches.{side}.{layer}.")
        for layer in ("cls_conv", "pts_refine_conv"):
            rules += _pairs(f"pycenter_{side}_{layer}.", f"branches.{side}.{layer}.", ["weight"])
    for old, new in (
        ("shared_convs.#.", "shared_convs.#."),
        ("pycenter_sem_embedding.", "sem_embedding."),
    ):
        rules += _pairs(f"{old}conv.", f"{new}conv.", ["weight"])
        rules += _pairs(f"{old}gn.", f"{new}gn.")
    return rules + _pairs("pycenter_sem_out.", "sem_out.")


def _fast_rules() -> list[Rule]:
    """Rules of the real-time head: plain and deformable layers, predictors with a bias."""
    rules = _shared_rules([_PLAIN_TOWER, _DEFORMABLE_TOWER])
    for side in ("tl", "br"):
        for layer in ("cls_conv", "pts_refine_conv"):
            rules += _pairs(f"pycenter_{side}_{layer}.", f"branches.{side}.{layer}.", ["bias"])
    return rules


def _full_rules(deformable: bool) -> list[Rule]:
    """Rules of the full head with one kind of tower: key points, predictors without a bias."""
    rules = _shared_rules([_DEFORMABLE_TOWER if deformable else _PLAIN_TOWER])
    for corner in ("tl", "br"):
        for old, new in _CORNER_POOL.items():
            leaves = ["weight", "bias"] if "gn" in old else ["weight"]
            rules += _pairs(f"hem_{corner}.{old}", f"keypoints.feats.{corner}.{new}", leaves)
    rules += _pairs("hem_ct.conv.", "keypoints.feats.ct.conv.", ["weight"])
    rules += _pairs("hem_ct.gn.", "keypoints.feats.ct.gn.")
    for point in ("tl", "br", "ct"):
        for kind in ("score", "offset"):
            rules += _pairs(f"pycenter_hem_{point}_{kind}_out.", f"keypoints.{kind}_outs.{point}.")
    return rules


def _rules_for(names: Iterable[str]) -> list[Rule]:
    """Tell by the names which of the three official heads it is."""
    if not any(re.search(r"\bhem_(tl|br|ct)\.", name) for name in names):
        return _fast_rules()
    return _full_rules(any("_convs.0.conv.conv_offset." in name for name in names))


def _swin_to_mmdet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a Swin backbone in Microsoft's names, if it is one; the rest stays."""
    prefix = "backbone."
    if not any(name.startswith(f"{prefix}layers.0.blocks.") for name in state_dict):
        return dict(state_dict)
    from mmdet.models.backbones.swin import swin_converter  # heavy, and only for these

    backbone = {n.removeprefix(prefix): t for n, t in state_dict.items() if n.startswith(prefix)}
    rest = {name: t for name, t in state_dict.items() if not name.startswith(prefix)}
    return dict(swin_converter(backbone)) | rest


def convert_centernetpp(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Rename the tensors of a CenterNet++ (``PyCenterNet``) with the full or the real-time head.

    Which head it is, and whether its towers are deformable, is seen by the names. Neck and ResNets
    are called the same in mmdet 2.11 and today; a Swin backbone has Microsoft's names there and
    gets those of mmdet. A state dict of the head alone, recognised by having neither a backbone nor
    the ``bbox_head.`` prefix, becomes one of the head alone.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix of DataParallel.

    Returns:
        Conversion: Tensors for :class:`mmext.detection.centernet.CenterNetPlusPlus`, or for its
        ``bbox_head``.
    """
    state_dict = _swin_to_mmdet(strip_prefix(state_dict, "module."))
    rules = _rules_for(state_dict)
    if any(name.startswith(("backbone.", _HEAD)) for name in state_dict):
        rules = [(r"bbox_head\." + old, _HEAD + new) for old, new in rules]
    return rename(state_dict, rules, unchanged=("backbone.", "neck."))
