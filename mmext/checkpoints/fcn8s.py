"""Checkpoints of FCN-8s on VGG-16 in the papers on adaptation, in the names of mmext."""

from collections.abc import Mapping

from torch import Tensor

from .convert_rules import Conversion, rename, strip_prefix

_CONVS = [f"conv{i}_{j}" for i, count in enumerate((2, 2, 3, 3, 3), 1) for j in range(1, count + 1)]
_CONVS += ["fc6", "fc7", "score_fr", "score_pool3", "score_pool4"]
_UPSCORES = ["upscore2", "upscore8", "upscore_pool4"]


def convert_fcn8s(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Put the tensors of FCN-8s, whose names stay, under ``backbone.``.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix of DataParallel.

    Returns:
        Conversion: Tensors for an ``EncoderDecoder`` with
        :class:`mmext.segmentation.networks.FCN8sVGG16` as its backbone and a
        :class:`mmext.segmentation.networks.LogitsHead`.
    """
    names = [f"{layer}.{leaf}" for layer in _CONVS for leaf in ("weight", "bias")]
    names += [f"{layer}.weight" for layer in _UPSCORES]
    rules = [(name.replace(".", r"\."), f"backbone.{name}") for name in names]
    return rename(strip_prefix(state_dict, "module."), rules)
