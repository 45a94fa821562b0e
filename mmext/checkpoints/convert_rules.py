"""Renaming the tensors of a checkpoint by rules, with an account of what did not fit."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

Rule = tuple[str, str]


class Conversion(NamedTuple):
    """Outcome of a conversion.

    Attributes:
        state_dict (dict[str, Tensor]): The renamed tensors.
        unknown (list[str]): Names in the source that no rule knows.
        absent (list[str]): Rules that fit no name in the source, so something is missing there.
        meta (Mapping[str, Any]): What else was found out, for the ``meta`` of the new file.
    """

    state_dict: dict[str, Tensor]
    unknown: list[str]
    absent: list[str]
    meta: Mapping[str, Any] = MappingProxyType({})


def rename(
    state_dict: Mapping[str, Tensor],
    rules: Sequence[Rule],
    unchanged: tuple[str, ...] = (),
    unused: Sequence[str] = (),
) -> Conversion:
    """Rename tensors, each by the first rule whose pattern fits its whole name.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors by their old names.
        rules (Sequence[Rule]): Pairs of a regular expression and a replacement, as for
            :func:`re.sub`. Every rule must fit at least one name.
        unchanged (tuple[str, ...]): Names that begin with one of these stay as they are.
        unused (Sequence[str]): Regular expressions of whole names that are left out, if they are
            there: tensors that the source's model never runs.

    Returns:
        Conversion: The renamed tensors, and the names and rules left over.

    Raises:
        ValueError: Two names became the same one.
    """
    # Compiled here: re keeps only 512 patterns, and a ResNet-101 has more tensors than that.
    patterns = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    renamed = {name: t for name, t in state_dict.items() if name.startswith(unchanged)}
    unknown, used = [], set()
    for name, tensor in state_dict.items():
        if name.startswith(unchanged) or any(re.fullmatch(pattern, name) for pattern in unused):
            continue
        for pattern, replacement in patterns:
            match = pattern.fullmatch(name)
            if match:
                new_name = match.expand(replacement)
                if new_name in renamed:
                    raise ValueError(f"{name} and another tensor would both become {new_name}")
                renamed[new_name] = tensor
                used.add(pattern.pattern)
                break
        else:
            unknown.append(name)
    return Conversion(renamed, unknown, [p for p, _ in rules if p not in used])


def strip_prefix(state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove a prefix from the names that have it.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors by name.
        prefix (str): For example ``module.``, which DataParallel writes.

    Returns:
        dict[str, Tensor]: The same tensors by their shorter names.
    """
    return {name.removeprefix(prefix): tensor for name, tensor in state_dict.items()}
