"""Checkpoints of the official CenterNet (triplet) code in the names of mmext."""

from collections.abc import Mapping

from torch import Tensor

from .convert_rules import Conversion, rename, strip_prefix
from .keypoint_rules import hourglass_rules, pool_rules, predictor_rules


def convert_centernet_triplet(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Rename the tensors of CenterNet-52 or CenterNet-104, as many stacks as there are.

    Args:
        state_dict (Mapping[str, Tensor]): Tensors of the official code, with or without the
            ``module.`` prefix that its files have.

    Returns:
        Conversion: Tensors for :class:`mmext.detection.centernet.CenterNetTriplet`.
    """
    state_dict = strip_prefix(state_dict, "module.")
    num_stacks = 1 + any(name.startswith("kps.1.") for name in state_dict)
    rules = hourglass_rules(num_stacks)
    for i in range(num_stacks):
        for point in ("tl", "br", "ct"):
            pool = f"bbox_head.pools.{i}.{point}."
            rules += pool_rules(rf"{point}_cnvs\.{i}\.", pool, cascade=point != "ct")
            for theirs, ours in (("heats", "heats"), ("tags", "tags"), ("regrs", "offsets")):
                if (theirs, point) != ("tags", "ct"):
                    rules += predictor_rules(
                        rf"{point}_{theirs}\.{i}\.", f"bbox_head.{ours}.{i}.{point}."
                    )
    return rename(state_dict, rules)
