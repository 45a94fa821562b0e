"""Checkpoints of discriminators in the output space (AdaptSegNet, BDL, ADVENT, MTAF)."""

from collections.abc import Mapping

from torch import Tensor

from .convert_rules import Conversion, rename, strip_prefix

_LAYERS = ("conv1", "conv2", "conv3", "conv4", "classifier")


def convert_discriminator(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Rename the tensors of a discriminator; layers may also be called 0, 2, 4, 6 and 8.

    Whether it was trained on probabilities (AdaptSegNet, BDL) or entropies (ADVENT, MTAF) the file
    does not say: set ``input_map``.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix of DataParallel.

    Returns:
        Conversion: Tensors for :class:`mmext.segmentation.networks.OutputDiscriminator`, whose
        numbers of channels are in ``meta["part"]``.
    """
    state_dict = strip_prefix(state_dict, "module.")
    numbered = "0.weight" in state_dict
    theirs = [str(2 * i) for i in range(len(_LAYERS))] if numbered else _LAYERS
    rules = [
        (rf"{old}\.{leaf}", f"{new}.{leaf}")
        for old, new in zip(theirs, _LAYERS, strict=True)
        for leaf in ("weight", "bias")
    ]
    conversion = rename(state_dict, rules)
    first = conversion.state_dict.get("conv1.weight")
    if first is None or first.ndim != 4:
        return conversion
    base_channels, num_classes = first.shape[:2]
    part = dict(
        type="mmext.OutputDiscriminator", num_classes=num_classes, base_channels=base_channels
    )
    return conversion._replace(meta=dict(part=part))
