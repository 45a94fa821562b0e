"""Learning loss: the images of the largest predicted loss."""

from torch import Tensor, nn

from mmext.registry import ACQUISITIONS

from .base import ScoreAcquisition


@ACQUISITIONS.register_module()
class LearningLoss(ScoreAcquisition):
    """The images with the highest predicted loss.

    Needs a :class:`~mmext.active_learning.LearningLossDetector`.

    Source: Yoo and Kweon, arXiv 1905.03677.
    """

    def describe(self, model: nn.Module, batch: dict) -> list[dict[str, Tensor]]:
        """Ask the model.

        Raises:
            TypeError: It predicts no losses.
        """
        if not hasattr(model, "predict_losses"):
            raise TypeError(
                f"LearningLoss asks the model for predict_losses, and a {type(model).__name__} has "
                "none. Wrap it: model=dict(type='mmext.LearningLossDetector', detector=..., "
                "in_channels=[...])."
            )
        inputs = model.data_preprocessor(batch, False)["inputs"]
        return [dict(score=score) for score in model.predict_losses(inputs)]
