"""How far two classifiers of a head disagree."""

from torch import Tensor, nn

from mmext.registry import ACQUISITIONS

from .base import ScoreAcquisition


@ACQUISITIONS.register_module()
class MIAODDiscrepancy(ScoreAcquisition):
    """Mean of the largest disagreements of a head's two classifiers over its anchors.

    Args:
        topk: k, of how many anchors; images with fewer take all.
        power: 2 as the official code (squared differences), 1 as the paper, equation 7.
        use_mil_weight: Whether anchors count by the weight of the multiple-instance classifier,
            which the official code computes here and does not use.

    Source: MI-AOD (Yuan et al., arXiv 2104.02324), section 3.4 and the official code, k = 10 000.
    """

    def __init__(self, topk: int = 10_000, power: int = 2, use_mil_weight: bool = False) -> None:
        self.settings = dict(topk=topk, power=power, use_mil_weight=use_mil_weight)

    def describe(self, model: nn.Module, batch: dict) -> list[dict[str, Tensor]]:
        """Ask the detector's head.

        Raises:
            TypeError: The head has no ``image_scores``.
        """
        head = getattr(model, "bbox_head", None)
        if not hasattr(head, "image_scores"):
            raise TypeError(
                f"MIAODDiscrepancy asks the bbox_head for image_scores, and the "
                f"{type(model).__name__} has a {type(head).__name__} there. Train with "
                "mmext.MIAODRetinaHead or mmext.MIAODSSDHead, or choose an acquisition for any "
                "detector, such as mmext.Entropy."
            )
        inputs = model.data_preprocessor(batch, False)["inputs"]
        scores = head.image_scores(model.extract_feat(inputs), **self.settings)
        return [dict(score=score) for score in scores]
