"""Checkpoints of DeepLab-v2 in the papers on adaptation (AdaptSegNet, BDL), in names of mmext."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .convert_rules import Conversion, Rule, rename, strip_prefix

RATES = (6, 12, 18, 24)
_DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# Of the initial weights that the official code downloads; that file has a classifier of other data.
_INIT_PREFIX = "Scale."


def convert_deeplabv2(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Rename the tensors of DeepLab-v2 with ResNet-50, -101 or -152 and one or two classifiers.

    Which of the four convolutions of a classifier were trained, and so belong to
    ``decode_head.active_rates``, is seen by their values (:func:`looks_untrained`) and goes to
    ``meta["active_rates"]``; a note says it in words. Counts of batches, which files of torch 0.4
    lack, are put in. Of the file of initial weights (names begin with ``Scale.``) the backbone is
    taken alone, without a prefix, for ``backbone.init_cfg``.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix of DataParallel.

    Returns:
        Conversion: Tensors for an ``EncoderDecoder`` of
        :class:`mmext.segmentation.networks.DeepLabV2ResNet` and
        :class:`mmext.segmentation.networks.DeepLabV2Head`, or for the former alone.
    """
    state_dict = strip_prefix(state_dict, "module.")
    backbone_only = any(name.startswith(_INIT_PREFIX) for name in state_dict)
    state_dict = with_batch_counts(strip_prefix(state_dict, _INIT_PREFIX))
    depths = tuple(_count(state_dict, rf"layer{i}\.(\d+)\.") for i in range(1, 5))
    if depths not in _DEPTHS:
        known = ", ".join(map(str, _DEPTHS))
        return Conversion({}, [], [f"layer1 to layer4 with {known} blocks, found {depths}"])
    names = _backbone_names(depths)
    if backbone_only:
        part = dict(type="mmext.DeepLabV2ResNet", depth=_DEPTHS[depths])
        rules = [(re.escape(name), name) for name in names]
        converted = rename(state_dict, rules, unused=[r"layer[56]\..*"])
        note = f"the file holds initial weights: a ResNet-{_DEPTHS[depths]} without its classifier"
        return converted._replace(meta=dict(part=part, notes=[note]))
    rules = [(re.escape(name), f"backbone.{name}") for name in names]
    if any(name.startswith("layer6.") for name in state_dict):
        rules += _classifier_rules("layer6", "decode_head")
        rules += _classifier_rules("layer5", "auxiliary_head")
    else:
        rules += _classifier_rules("layer5", "decode_head")
    conversion = rename(state_dict, rules)
    if conversion.unknown or conversion.absent:
        return conversion
    return conversion._replace(meta=_active_rates(conversion.state_dict))


def with_batch_counts(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add a count of 0 to every norm that has running statistics but no ``num_batches_tracked``.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors by name, perhaps of torch 0.4 or before.

    Returns:
        dict[str, Tensor]: The same and the counts, which nothing in inference depends on.
    """
    counts = {
        name.removesuffix("running_mean") + "num_batches_tracked": torch.tensor(0)
        for name in state_dict
        if name.endswith("running_mean")
    }
    return counts | dict(state_dict)


def looks_untrained(weight: Tensor, bias: Tensor) -> bool:
    """Tell whether a convolution still has the initial weights of the official code.

    A convolution that is not run gets no gradient and so no weight decay either: its weights remain
    draws of N(0, 0.01), its bias remains within torch's initial bounds. Mean, deviation and fourth
    moment are compared, with six standard errors.

    Args:
        weight (Tensor): Weight of a convolution.
        bias (Tensor): Its bias.
    """
    scaled = weight.double() / 0.01
    count = scaled.numel()
    fourth = scaled.square().square().mean() - 3
    return bool(
        scaled.mean().abs() < 6 * count**-0.5
        and (scaled.square().mean() - 1).abs() < 6 * (2 / count) ** 0.5
        and fourth.abs() < 6 * (96 / count) ** 0.5
        and bias.abs().max() <= weight[0].numel() ** -0.5
    )


def check_active_rates(model: nn.Module, meta: Mapping[str, Any]) -> list[str]:
    """List the classifiers of a model that would add up convolutions that were never trained.

    Args:
        model (nn.Module): The model of a config.
        meta (Mapping[str, Any]): Of the conversion.
    """
    problems = []
    for head, trained in meta.get("active_rates", {}).items():
        active = list(getattr(getattr(model, head, None), "active_rates", trained))
        if not set(active) <= set(trained):
            problems.append(
                f"{head}.active_rates of the config is {active}, but only the convolutions with "
                f"rates {trained} were trained: set model.{head}.active_rates={trained}"
            )
    return problems


def _active_rates(converted: Mapping[str, Tensor]) -> dict[str, Any]:
    """Find out which convolutions of each classifier were trained, and say it."""
    meta: dict[str, Any] = dict(active_rates={}, notes=[])
    for head in ("decode_head", "auxiliary_head"):
        if f"{head}.convs.0.weight" not in converted:
            continue
        trained = [
            rate
            for i, rate in enumerate(RATES)
            if not looks_untrained(*(converted[f"{head}.convs.{i}.{n}"] for n in _NORM[:2]))
        ]
        dead = [rate for rate in RATES if rate not in trained]
        if trained:
            meta["active_rates"][head] = trained
        never = f"; {dead} still have their initial weights" if dead else ""
        meta["notes"].append(
            f"{head}: the convolutions with rates {trained} were trained{never}. "
            f"Set model.{head}.active_rates={trained}."
            if trained
            else f"{head}: no convolution was trained, this classifier has its initial weights"
        )
    return meta


def _count(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    """Return one more than the highest number that a pattern finds at the start of the names."""
    found = [re.match(pattern, name) for name in state_dict]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _backbone_names(depths: tuple[int, ...]) -> list[str]:
    """Names of the tensors of the ResNet, which are the same in mmseg."""
    names = ["conv1.weight", *(f"bn1.{leaf}" for leaf in _NORM)]
    for i, depth in enumerate(depths, start=1):
        for j in range(depth):
            block = f"layer{i}.{j}."
            for k in (1, 2, 3):
                names += [f"{block}conv{k}.weight", *(f"{block}bn{k}.{leaf}" for leaf in _NORM)]
            if j == 0:
                names.append(f"{block}downsample.0.weight")
                names += [f"{block}downsample.1.{leaf}" for leaf in _NORM]
    return names


def _classifier_rules(old: str, new: str) -> list[Rule]:
    """Rules for the four convolutions of a classifier."""
    return [
        (rf"{old}\.conv2d_list\.{i}\.{leaf}", f"{new}.convs.{i}.{leaf}")
        for i in range(len(RATES))
        for leaf in ("weight", "bias")
    ]
