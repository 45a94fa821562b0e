"""Checkpoints of the official Group-Free-3D and of mmdet3d's, in the names of mmext and back."""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .convert_rules import Conversion, rename, strip_prefix

# Our outputs of a prediction head and the official ones. mmdet3d has them in two layers, in this
# order but for the classes, which stand behind objectness.
_OUTPUTS = {
    "objectness": "objectness_scores_head",
    "semantic": "sem_cls_scores_head",
    "center": "center_residual_head",
    "heading_scores": "heading_class_head",
    "heading_residuals": "heading_residual_head",
    "size_scores": "size_class_head",
    "size_residuals": "size_residual_head",
    "size": "size_pred_head",
}
_CLASSIFYING = 2
_MMDET3D_HEADS = r"(bbox_head\.(?:conv_pred|prediction_heads\.\d+))\."
# Parts of our names and what stands there instead; the first that fits counts.
_OFFICIAL = (
    (r"backbone\.sa\.(\d)\.mlp\.", lambda m: f"backbone_net.sa{int(m[1]) + 1}.mlp_module.layer"),
    (r"backbone\.fp\.(\d)\.mlp\.", lambda m: f"backbone_net.fp{int(m[1]) + 1}.mlp.layer"),
    (r"seed_head\.", "points_obj_cls."),
    (r"decoder\.(query|key)_proj\.", r"decoder_\1_proj."),
    (
        r"decoder\.layers\.(\d+)\.(self|cross)_posembed\.",
        r"decoder_\2_posembeds.\1.position_embedding_head.",
    ),
    (r"decoder\.layers\.(\d+)\.cross_attn\.", r"decoder.\1.multihead_attn."),
    (r"decoder\.layers\.", "decoder."),
    (r"(.*)\.outputs\.(\w+)\.", lambda m: f"{m[1]}.{_OUTPUTS[m[2]]}."),
)
_MMDET3D_LAYER = r"bbox_head.decoder_layers.\1."
_MMDET3D = (
    (r"backbone\.sa\.(\d)\.mlp\.", r"backbone.SA_modules.\1.mlps.0.layer"),
    (r"backbone\.fp\.(\d)\.mlp\.", r"backbone.FP_modules.\1.mlps.layer"),
    (
        r"seed_head\.(conv|bn)(\d)\.",
        lambda m: f"bbox_head.points_obj_cls.mlp.layer{int(m[2]) - 1}.{m[1]}.",
    ),
    (
        r"proposal_head\.(conv|bn)(\d)\.",
        lambda m: f"bbox_head.conv_pred.shared_convs.layer{int(m[2]) - 1}.{m[1]}.",
    ),
    (r"proposal_head\.", "bbox_head.conv_pred."),
    (
        r"prediction_heads\.(\d+)\.(conv|bn)(\d)\.",
        lambda m: f"bbox_head.prediction_heads.{m[1]}.shared_convs.layer{int(m[3]) - 1}.{m[2]}.",
    ),
    (r"prediction_heads\.", "bbox_head.prediction_heads."),
    (r"decoder\.(query|key)_proj\.", r"bbox_head.decoder_\1_proj."),
    (
        r"decoder\.layers\.(\d+)\.(self|cross)_posembed\.",
        r"bbox_head.decoder_\2_posembeds.\1.position_embedding_head.",
    ),
    (r"decoder\.layers\.(\d+)\.self_attn\.", _MMDET3D_LAYER + "attentions.0.attn."),
    (r"decoder\.layers\.(\d+)\.cross_attn\.", _MMDET3D_LAYER + "attentions.1.attn."),
    (r"decoder\.layers\.(\d+)\.linear1\.", _MMDET3D_LAYER + "ffns.0.layers.0.0."),
    (r"decoder\.layers\.(\d+)\.linear2\.", _MMDET3D_LAYER + "ffns.0.layers.1."),
    (
        r"decoder\.layers\.(\d+)\.norm(\d)\.",
        lambda m: f"bbox_head.decoder_layers.{m[1]}.norms.{int(m[2]) - 1}.",
    ),
)


def convert_group_free3d(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Rename the tensors of a Group-Free-3D, of the official code or of mmdet3d, by the names.

    The official code holds position embeddings twice; a second copy that differs is reported.
    mmdet3d's outputs are taken apart.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors, with or without the ``module.`` prefix.

    Returns:
        Conversion: Tensors for a :class:`mmext.detection3d.GroupFree3D`.
    """
    state_dict = strip_prefix(state_dict, "module.")
    mmdet3d = any(name.startswith("bbox_head.") for name in state_dict)
    if mmdet3d:
        state_dict, problems, theirs = _apart(state_dict), [], mmdet3d_name
    else:
        (state_dict, problems), theirs = _without_aliases(state_dict), official_name
    numbers = re.compile(r"prediction_heads\.(\d+)\.")
    layers = 1 + max((int(m[1]) for n in state_dict if (m := numbers.search(n))), default=0)
    rules = [
        (re.escape(theirs(name)), name)
        for name in _our_names(
            layers,
            scores=_has(state_dict, "points_obj_cls."),
            classless=_has(state_dict, ".outputs.size." if mmdet3d else ".size_pred_head."),
        )
    ]
    conversion = rename(state_dict, rules)
    return conversion._replace(unknown=conversion.unknown + problems)


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`convert_group_free3d`: what the official code loads with ``strict=True``.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of a ``GroupFree3D``.

    Returns:
        dict[str, Tensor]: Tensors in official names, position embeddings twice.
    """
    official = {official_name(name): tensor for name, tensor in state_dict.items()}
    for name, tensor in list(official.items()):
        if match := re.fullmatch(r"decoder_(self|cross)_posembeds\.(\d+)\.(.+)", name):
            kind, layer, rest = match.groups()
            official[f"decoder.{layer}.{kind}_posembed.{rest}"] = tensor
    return official


def to_mmdet3d(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Write a Group-Free-3D for mmdet3d's ``GroupFree3DNet``.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of a ``GroupFree3D``.

    Returns:
        dict[str, Tensor]: Tensors in mmdet3d's names.
    """
    renamed = {mmdet3d_name(name): tensor for name, tensor in state_dict.items()}
    outputs = re.compile(_MMDET3D_HEADS + r"outputs\.(\w+)\.(weight|bias)")
    joined, parts = {}, {}
    for name, tensor in renamed.items():
        if match := outputs.fullmatch(name):
            parts[match.groups()] = tensor
        else:
            joined[name] = tensor
    for head, leaf in dict.fromkeys((head, leaf) for head, _, leaf in parts):
        there = [parts[head, name, leaf] for name in _OUTPUTS if (head, name, leaf) in parts]
        joined[f"{head}.conv_cls.{leaf}"] = torch.cat(there[:_CLASSIFYING])
        joined[f"{head}.conv_reg.{leaf}"] = torch.cat(there[_CLASSIFYING:])
    return joined


def official_name(name: str) -> str:
    """Return the official name of a tensor of ours."""
    name = _renamed(name, _OFFICIAL)
    return name.replace(".bn.", ".bn.bn.") if name.startswith("backbone_net.") else name


def mmdet3d_name(name: str) -> str:
    """Return mmdet3d's name of a tensor of ours; outputs of heads are a part of a layer there."""
    return _renamed(name, _MMDET3D)


def _renamed(name: str, table: tuple[tuple[str, str | Callable], ...]) -> str:
    for pattern, replacement in table:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return name


def _has(state_dict: Mapping[str, Tensor], part: str) -> bool:
    return any(part in name for name in state_dict)


def _our_names(num_layers: int, *, scores: bool, classless: bool) -> list[str]:
    """Return the names of a ``GroupFree3D`` with KPS or not, sizes without classes or with."""
    affine, layers, norms, names = ("weight", "bias"), [], [], []
    for stage, number, depth in (("sa", 4, 3), ("fp", 2, 2)):
        mlps = [f"backbone.{stage}.{i}.mlp.{j}" for i in range(number) for j in range(depth)]
        names += [f"{mlp}.conv.weight" for mlp in mlps]
        norms += [f"{mlp}.bn" for mlp in mlps]
    other = ("size_scores", "size_residuals") if classless else ("size",)
    heads = ["proposal_head", *(f"prediction_heads.{i}" for i in range(num_layers))]
    layers += [f"{head}.outputs.{name}" for head in heads for name in _OUTPUTS if name not in other]
    if scores:
        heads.append("seed_head")
        layers.append("seed_head.conv3")
    layers += ["decoder.query_proj", "decoder.key_proj"]
    layers += [f"{head}.conv{k}" for head in heads for k in (1, 2)]
    norms += [f"{head}.bn{k}" for head in heads for k in (1, 2)]
    for layer in (f"decoder.layers.{i}" for i in range(num_layers)):
        for kind in ("self", "cross"):
            layers += [f"{layer}.{kind}_posembed.{k}" for k in (0, 3)]
            norms.append(f"{layer}.{kind}_posembed.1")
            names += [f"{layer}.{kind}_attn.in_proj_{x}" for x in affine]
            layers.append(f"{layer}.{kind}_attn.out_proj")
        layers += [f"{layer}.{x}" for x in ("linear1", "linear2", "norm1", "norm2", "norm3")]
    counted = (*affine, "running_mean", "running_var", "num_batches_tracked")
    names += [f"{layer}.{x}" for layer in layers for x in affine]
    return names + [f"{norm}.{x}" for norm in norms for x in counted]


def _without_aliases(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Leave out second copies of position embeddings; name those that differ from the first."""
    kept, problems = {}, []
    for name, tensor in state_dict.items():
        match = re.fullmatch(r"decoder\.(\d+)\.(self|cross)_posembed\.(.+)", name)
        if match is None:
            kept[name] = tensor
            continue
        layer, kind, rest = match.groups()
        first = f"decoder_{kind}_posembeds.{layer}.{rest}"
        if first not in state_dict or not torch.equal(tensor, state_dict[first]):
            problems.append(f"{name}, which is not equal to {first}")
    return kept, problems


def _apart(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split mmdet3d's joined outputs, under names of their own."""
    apart = {}
    for name, tensor in state_dict.items():
        match = re.fullmatch(_MMDET3D_HEADS + r"conv_(cls|reg)\.(weight|bias)", name)
        if match is None:
            apart[name] = tensor
            continue
        head, kind, leaf = match.groups()
        if kind == "cls":
            sizes = dict(objectness=1, semantic=len(tensor) - 1)
        else:
            classes = state_dict.get(f"{head}.conv_cls.{leaf}")
            sizes = _box_outputs(len(tensor), 0 if classes is None else len(classes) - 1)
        for output, part in zip(sizes, tensor.split(list(sizes.values())), strict=True):
            apart[f"{head}.outputs.{output}.{leaf}"] = part
    return apart


def _box_outputs(count: int, num_classes: int) -> dict[str, int]:
    """Return how many numbers describe a centre, a heading and a size, by their sum."""
    with_classes = count - 3 - 4 * num_classes
    if num_classes and with_classes >= 2:
        bins = with_classes // 2
        size = dict(size_scores=num_classes, size_residuals=count - 3 - 2 * bins - num_classes)
    else:
        bins = max(0, count - 6) // 2
        size = dict(size=count - 3 - 2 * bins)
    return dict(center=3, heading_scores=bins, heading_residuals=bins, **size)
