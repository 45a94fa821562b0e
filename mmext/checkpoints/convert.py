"""Conversion of the authors' checkpoints, one function per family of models."""

import argparse
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmext.files import replacing
from mmext.registry import MODELS
from mmext.version import __version__

from .centernet_triplet import convert_centernet_triplet
from .centernetpp import convert_centernetpp
from .convert_rules import Conversion
from .cpn import convert_cpn
from .cyclegan import convert_cyclegan
from .deeplabv2 import check_active_rates, convert_deeplabv2
from .discriminator import convert_discriminator
from .fcn8s import convert_fcn8s
from .group_free3d import convert_group_free3d
from .mi_aod import convert_mi_aod
from .safe_load import load_untrusted
from .uformer import convert_uformer

# Each takes a state dict, and by keyword what its files do not say.
FAMILIES: dict[str, Callable[..., Conversion]] = {
    "centernet-triplet": convert_centernet_triplet,
    "centernetpp": convert_centernetpp,
    "cpn": convert_cpn,
    "cyclegan": convert_cyclegan,
    "deeplabv2": convert_deeplabv2,
    "discriminator": convert_discriminator,
    "fcn8s": convert_fcn8s,
    "group-free-3d": convert_group_free3d,
    "mi-aod": convert_mi_aod,
    "uformer": convert_uformer,
}

# Harmless classes in the files of a family, beside tensors and plain values.
_ALLOWED: dict[str, tuple[type, ...]] = {
    "group-free-3d": (argparse.Namespace,),  # the training's command line
}

# Each compares the model of a config with what a conversion found out, and lists what is wrong.
_CHECKS: dict[str, Callable[[nn.Module, Mapping[str, Any]], list[str]]] = {
    "deeplabv2": check_active_rates,
}


class ConversionError(ValueError):
    """The source is not a (whole) checkpoint of that family, or does not fit the config."""


def convert_checkpoint(
    family: str,
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    config: str | os.PathLike | None = None,
    facts: Mapping[str, str] | None = None,
    trust: bool = False,
) -> dict[str, Tensor]:
    """Convert a checkpoint file; nothing is written unless every tensor found its place.

    Args:
        family (str): One of ``FAMILIES``.
        source (str | os.PathLike): The authors' file: a state dict, or a dict with one under
            ``state_dict`` or ``model``.
        target (str | os.PathLike): Where ``dict(state_dict=..., meta=...)`` goes.
        config (str | os.PathLike | None): A config whose model must take all tensors, and need no
            others; if the file is a part of it (a discriminator, say), that part is meant. Without
            it, names are checked but not shapes.
        facts (Mapping[str, str] | None): What the file does not say and the family takes, for
            ``uformer`` ``task`` and ``patch_size``, for ``cyclegan`` ``running_stats``.
        trust (bool): Read files that could run code.

    Returns:
        dict[str, Tensor]: The converted state dict.

    Raises:
        ConversionError: Tensors are unknown, missing or of another shape; the message lists them.
            Or the family takes no such fact.
        UnsafeCheckpointError: The file asks for code to be run.
    """
    if family not in FAMILIES:
        raise ConversionError(f"unknown family {family!r}, expected one of {sorted(FAMILIES)}")
    checkpoint = load_untrusted(source, trust=trust, allowed=_ALLOWED.get(family, ()))
    state_dict = _state_dict_of(checkpoint, source)
    conversion = FAMILIES[family](state_dict, **_checked_facts(family, facts or {}))
    problems = [f"unknown tensor: {name}" for name in conversion.unknown]
    problems += [f"no tensor fits: {pattern}" for pattern in conversion.absent]
    problems = problems or _misfits(family, conversion, config)
    if problems:
        what = f"the model of {config}" if config is not None else f"family {family!r}"
        raise ConversionError(
            f"{source} does not fit {what} ({len(problems)} mismatches). Check the family, the "
            "config and that the file is complete:\n  " + "\n  ".join(problems)
        )
    meta = _meta(family, source, checkpoint) | dict(conversion.meta)
    _save(dict(state_dict=conversion.state_dict, meta=meta), target)
    for note in conversion.meta.get("notes", ()):
        print_log(f"note: {note}")
    return conversion.state_dict


def _checked_facts(family: str, facts: Mapping[str, str]) -> Mapping[str, str]:
    """Return the facts if the family takes all of them."""
    known = list(inspect.signature(FAMILIES[family]).parameters)[1:]
    unknown = sorted(set(facts) - set(known))
    if unknown:
        raise ConversionError(
            f"family {family!r} takes no fact {', '.join(unknown)}, expected "
            + (f"some of {', '.join(known)}" if known else "none")
        )
    return facts


def _state_dict_of(checkpoint: Any, source: str | os.PathLike) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, whether in ``state_dict``, in ``model``, or bare."""
    state_dict = checkpoint if isinstance(checkpoint, dict) else None
    for key in ("model", "state_dict"):
        if state_dict is not None and isinstance(state_dict.get(key), dict):
            state_dict = state_dict[key]
    if not state_dict or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise ConversionError(
            f"{source} holds no state dict: expected a dict of tensors by name, or a dict with "
            "such a dict under 'state_dict' or 'model'."
        )
    return state_dict


def _model_for(state_dict: Mapping[str, Tensor], config: str | os.PathLike) -> nn.Module:
    """Build the model of a config, or its head if that is all the state dict is about."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.get("default_scope", "mmengine"))
    model = MODELS.build(cfg.model)
    whole = any(name.startswith(("backbone.", "bbox_head.")) for name in state_dict)
    return model if whole or not hasattr(model, "bbox_head") else model.bbox_head


def _misfits(family: str, conversion: Conversion, config: str | os.PathLike | None) -> list[str]:
    """List what keeps a conversion from working in the model of a config, or in its own part."""
    part = conversion.meta.get("part")
    if config is not None:
        model = _model_for(conversion.state_dict, config)
        if part is not None:
            kind = MODELS.get(part["type"])
            model = next((module for module in model.modules() if isinstance(module, kind)), None)
        if model is None:
            return [f"the model has no {part['type']}"]
    elif part is not None:
        with torch.device("meta"):
            model = MODELS.build(part)
    else:
        return []
    problems = _compare(model, conversion.state_dict)
    if not problems and family in _CHECKS:
        problems = _CHECKS[family](model, conversion.meta)
    return problems


def _compare(model: nn.Module, state_dict: Mapping[str, Tensor]) -> list[str]:
    """List what keeps a state dict from loading into a model with ``strict=True``."""
    expected = model.state_dict()
    problems = [f"missing tensor: {name}" for name in expected if name not in state_dict]
    for name, tensor in state_dict.items():
        if name not in expected:
            problems.append(f"unexpected tensor: {name}")
        elif tensor.shape != expected[name].shape:
            problems.append(
                f"shape of {name}: {tuple(tensor.shape)} in the file, "
                f"{tuple(expected[name].shape)} in the model"
            )
    return problems


def _meta(family: str, source: str | os.PathLike, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Describe where the tensors come from, with the class names if the source had them."""
    meta: dict[str, Any] = dict(family=family, source=Path(source).name, mmext_version=__version__)
    old_meta = checkpoint.get("meta")
    if isinstance(old_meta, Mapping) and "CLASSES" in old_meta:
        meta["dataset_meta"] = dict(classes=tuple(old_meta["CLASSES"]))
    return meta


def _save(checkpoint: Mapping[str, Any], target: str | os.PathLike) -> None:
    # To a file, not to a name: the name would stand in it, and differ from process to process.
    with replacing(target) as part, part.open("wb") as file:
        torch.save(dict(checkpoint), file)
