"""Adaptation by certainty on the target, the simplest of all."""

from collections.abc import Sequence
from typing import Any

from mmseg.structures import SegDataSample
from torch import Tensor

from mmext.registry import MODELS

from ..datasets.multi_domain import ROLE
from .bdl import BDL
from .consistency import entropy_loss


@MODELS.register_module()
class EntropyMinimization(BDL):
    """Learns to be certain on the target: MinEnt of ADVENT (arXiv 1811.12833).

    With a discriminator that looks at ``input_map='entropy'`` it is ADVENT's adversarial variant
    with both terms, with pseudo labels entropy joins self-training: all that :class:`BDL` does,
    and ``lambda_entropy`` times the entropy of the target's predictions.

    Args:
        lambda_entropy: Weight of the entropy, which is 1 where all classes are equally likely.
        **kwargs: As for :class:`BDL`.

    Source: ADVENT, equations 2 and 3, weight 0.001. The paper sums over pixels, its code takes the
    mean, and so does this. The code enlarges logits to the size of the image first; here they stay
    at the network's own stride.
    """

    def __init__(self, *, lambda_entropy: float = 0.001, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lambda_entropy = lambda_entropy

    def segmentor_losses(
        self, inputs: Tensor, samples: Sequence[SegDataSample]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses of :meth:`BDL.segmentor_losses`, for targets with entropy, and logits.

        Args:
            inputs: (B, 3, H, W) preprocessed images of a domain.
            samples: One per image.
        """
        losses, logits = super().segmentor_losses(inputs, samples)
        if samples[0].get(ROLE) == "target":
            losses["loss_entropy"] = self.lambda_entropy * entropy_loss(logits)
        return losses, logits
