"""Checkpoints of the official CycleGAN code: a generator or a discriminator in one file."""

import re
from collections.abc import Mapping

from torch import Tensor

from .convert_rules import Conversion, Rule, rename, strip_prefix
from .deeplabv2 import with_batch_counts

_RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def convert_cyclegan(
    state_dict: Mapping[str, Tensor], *, running_stats: str = "drop"
) -> Conversion:
    """Rename the tensors of a generator (``net_G_A``) or of a discriminator (``net_D_A``).

    Which it is, and how many blocks or layers it has, is seen by the names. ``net_G_A`` belongs to
    ``generators.a2b`` of an :class:`mmext.segmentation.networks.ImageTranslator`, ``net_D_A``,
    which judges its output, to ``discriminators.b``.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix of DataParallel.
        running_stats (str): ``drop`` leaves out the running averages of instance norms, which files
            of 2018 have and the official test script of then does not use. ``keep`` takes them, for
            ``track_running_stats=True``; counts of batches that are missing are put in.

    Returns:
        Conversion: Tensors for :class:`mmext.segmentation.networks.CycleGANGenerator` or
        :class:`mmext.segmentation.networks.PatchDiscriminator`, whose options are ``meta["part"]``.

    Raises:
        ValueError: ``running_stats`` is neither.
    """
    if running_stats not in ("drop", "keep"):
        raise ValueError(f"running_stats must be drop or keep, got {running_stats!r}")
    keep = running_stats == "keep"
    state_dict = strip_prefix(state_dict, "module.")
    if keep:
        state_dict = with_batch_counts(state_dict)
    generator = "model.1.weight" in state_dict or _numbers(state_dict, r"model\.(\d+)\.conv_block")
    if generator:
        count = len(_numbers(state_dict, r"model\.(\d+)\.conv_block\."))
        layers = _generator_layers(count)
        options = dict(num_blocks=count)
        outer = ("stem.0.weight", "out.weight")
    else:
        count = max((max(_numbers(state_dict, r"model\.(\d+)\."), default=0) - 2) // 3, 1)
        layers = _discriminator_layers(count)
        options = dict(num_layers=count)
        outer = ("layers.0.weight", None)
    conversion = rename(
        state_dict,
        _rules(layers, keep),
        unused=() if keep else [rf".*\.{leaf}" for leaf in _RUNNING],
    )
    ends = [conversion.state_dict.get(name) for name in outer if name]
    if any(tensor is None or tensor.ndim != 4 for tensor in ends):
        return conversion
    options |= dict(in_channels=ends[0].shape[1], base_channels=ends[0].shape[0])
    if generator:
        options["out_channels"] = ends[1].shape[0]
    name = "CycleGANGenerator" if generator else "PatchDiscriminator"
    part = dict(type=f"mmext.{name}", track_running_stats=keep, **options)
    return conversion._replace(meta=dict(part=part))


def _numbers(state_dict: Mapping[str, Tensor], pattern: str) -> set[int]:
    """Return the numbers that a pattern finds at the start of the names."""
    return {int(match[1]) for match in (re.match(pattern, name) for name in state_dict) if match}


def _generator_layers(num_blocks: int) -> list[tuple[str, str, bool]]:
    """Return (their name, our name, is a norm) for each layer of a generator with parameters."""
    layers = [("model.1", "stem.0", False), ("model.2", "stem.1", True)]
    for stage, first in (("downs", 4), ("ups", 10 + num_blocks)):
        for i in range(2):
            place = first + 3 * i
            layers += [(f"model.{place}", f"{stage}.{i}.0", False)]
            layers += [(f"model.{place + 1}", f"{stage}.{i}.1", True)]
    for i in range(num_blocks):
        theirs, ours = f"model.{10 + i}.conv_block", f"blocks.{i}"
        for j, place in ((1, 1), (2, 5)):
            layers += [(f"{theirs}.{place}", f"{ours}.conv{j}", False)]
            layers += [(f"{theirs}.{place + 1}", f"{ours}.norm{j}", True)]
    return [*layers, (f"model.{17 + num_blocks}", "out", False)]


def _discriminator_layers(num_layers: int) -> list[tuple[str, str, bool]]:
    """Return (their name, our name, is a norm) for each layer of a discriminator."""
    convs = [0, *(2 + 3 * i for i in range(num_layers + 1))]
    norms = [place + 1 for place in convs[1:-1]]
    return [(f"model.{p}", f"layers.{p}", p in norms) for p in sorted((*convs, *norms))]


def _rules(layers: list[tuple[str, str, bool]], keep: bool) -> list[Rule]:
    """Rules for the tensors of layers; norms have none but their running averages."""
    return [
        (re.escape(f"{theirs}.{leaf}"), f"{ours}.{leaf}")
        for theirs, ours, is_norm in layers
        for leaf in ((_RUNNING if keep else ()) if is_norm else ("weight", "bias"))
    ]
