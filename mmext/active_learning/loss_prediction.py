"""Learning loss: a detector that predicts its own loss for each image."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.structures import SampleList
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmext.registry import MODELS

from .acquisitions.features import captured_features


def ranking_loss(predicted: Tensor, losses: Tensor, margin: float = 1.0) -> Tensor:
    """Compare predictions of pairs: of the larger loss, more should be predicted.

    Args:
        predicted: (B,) predicted losses; the first half is compared with the second.
        losses: (B,) losses, without gradient.
        margin: How much more.

    Returns:
        Mean over the pairs; 0 with less than two images. Of an odd number the last is left out.

    Source: Yoo and Kweon, arXiv 1905.03677, equation 2: margin 1.
    """
    half = len(predicted) // 2
    if half == 0:
        return predicted.sum() * 0
    gap = predicted[:half] - predicted[half : 2 * half]
    larger = torch.where(losses[:half] > losses[half : 2 * half], 1.0, -1.0)
    return (margin - larger * gap).clamp(min=0).mean()


class LossPrediction(BaseModule):
    """Predicts the loss of an image from feature maps of several levels.

    Args:
        in_channels: Channels of each level.
        hidden: Width of the layer after the pooling of each level.

    Source: Yoo and Kweon, arXiv 1905.03677, figure 2: average pooling, a layer with ReLU for each
    level, all joined by one more.
    """

    def __init__(self, in_channels: Sequence[int], hidden: int = 128) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Linear(channels, hidden) for channels in in_channels)
        self.joined = nn.Linear(len(in_channels) * hidden, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Predict.

        Args:
            maps: Of each level (B, C, H, W).

        Returns:
            (B,).
        """
        pairs = zip(self.levels, maps, strict=True)
        hidden = [layer(level.mean((2, 3))).relu() for layer, level in pairs]
        return self.joined(torch.cat(hidden, 1))[:, 0]


@MODELS.register_module()
class LearningLossDetector(BaseDetector):
    """Any mmdet detector with a part that learns to predict its loss, for the acquisition.

    The detector is trained as it is. The loss of each image, which is what the part learns, is
    computed once more without gradient, from the features that are there.

    Args:
        detector: Config of the detector, with its data preprocessor.
        in_channels: Channels of the levels of its neck.
        hidden: See :class:`LossPrediction`.
        margin: See :func:`ranking_loss`.
        loss_weight: Weight of the ranking loss.
        detach: Whether features learn nothing from it. The paper lets them learn in the first part
            of the training only.
        init_cfg: As of every model of mmengine's.

    Source: Yoo and Kweon, arXiv 1905.03677: weight and margin 1.
    """

    def __init__(
        self,
        *,
        detector: Mapping,
        in_channels: Sequence[int],
        hidden: int = 128,
        margin: float = 1.0,
        loss_weight: float = 1.0,
        detach: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        inner = dict(detector)
        super().__init__(inner.pop("data_preprocessor", None), init_cfg)
        self.detector = MODELS.build(inner)
        self.loss_prediction = LossPrediction(in_channels, hidden)
        self.margin, self.loss_weight, self.detach = margin, loss_weight, detach

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict:
        """Return the detector's losses and ``loss_prediction``."""
        with captured_features(self.detector) as noted:
            losses = self.detector.loss(batch_inputs, batch_data_samples)
        maps = [level.detach() for level in noted[-1]] if self.detach else noted[-1]
        each = self._image_losses(noted[-1], batch_inputs, batch_data_samples)
        loss = ranking_loss(self.loss_prediction(maps), each, self.margin)
        return {**losses, "loss_prediction": self.loss_weight * loss}

    def predict_losses(self, batch_inputs: Tensor) -> Tensor:
        """Return (B,) predicted losses of preprocessed (B, 3, H, W) images."""
        return self.loss_prediction(self.extract_feat(batch_inputs))

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Detect as the detector does."""
        return self.detector.predict(batch_inputs, batch_data_samples, rescale=rescale)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the detector's features."""
        return self.detector.extract_feat(batch_inputs)

    def _forward(self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None) -> tuple:
        return self.detector._forward(batch_inputs, batch_data_samples)

    @torch.no_grad()
    def _image_losses(self, maps: Sequence[Tensor], inputs: Tensor, samples: SampleList) -> Tensor:
        totals = []
        for index, sample in enumerate(samples):
            image = slice(index, index + 1)
            with _given_features(self.detector, tuple(level[image] for level in maps)):
                losses = self.detector.loss(inputs[image], [sample])
            totals.append(self.parse_losses(losses)[0])
        return torch.stack(totals)


@contextmanager
def _given_features(detector: nn.Module, maps: tuple[Tensor, ...]) -> Iterator[None]:
    """Let a detector go on from features instead of computing them."""
    detector.extract_feat = lambda inputs: maps
    try:
        yield
    finally:
        del detector.extract_feat
