"""What adaptation with a single optimiser shares: a step of several losses, one graph at a time."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from mmengine.optim import OptimWrapper
from mmseg.structures import SegDataSample
from torch import Tensor

from .segmentors import supervised_losses
from .wrapper import AdaptationModel, LogVars, passes_of


class LossPart(NamedTuple):
    """Losses of a step whose gradients are computed together.

    Attributes:
        name: What their names begin with in the log, such as the domain.
        weight: Factor on their sum.
        losses: Computes them; nothing is computed before it is called.
    """

    name: str
    weight: float
    losses: Callable[[], dict[str, Tensor]]


class PartwiseAdaptation(AdaptationModel):
    """An adaptation that says which losses it learns from; the step is here.

    Gradients of each part are computed before the next part is, so that the memory is that of the
    largest part. Then ``segmentor``, the one optimiser, updates once.

    Attributes:
        iteration: How many iterations came before the step, also before a resumed training.
    """

    iteration: int = 0

    @abstractmethod
    def parts(
        self, inputs: dict[str, Tensor], samples: dict[str, Sequence[SegDataSample]]
    ) -> list[LossPart]:
        """Return what a step learns from.

        Args:
            inputs: (B, 3, H, W) preprocessed images by domain.
            samples: By domain.
        """

    def labelled_losses(
        self, inputs: Tensor, samples: Sequence[SegDataSample]
    ) -> dict[str, Tensor]:
        """Return the segmentor's own losses on labelled images.

        Args:
            inputs: (B, 3, H, W) preprocessed images.
            samples: With labels.
        """
        return supervised_losses(self.segmentor, inputs, samples)[0]

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> LogVars:
        """Learn from a batch.

        Args:
            data: A batch of a ``MultiDomainDataset``.
            optim_wrapper: With the optimiser ``segmentor``.

        Returns:
            What to log: ``loss``, the weighted sum, and each loss by part and name.
        """
        learner = passes_of(optim_wrapper, ("segmentor",))["segmentor"]
        self.iteration = learner.iteration
        batch = self.data_preprocessor(data, True)
        logs: LogVars = {}
        totals = []
        for part in self.parts(batch["inputs"], batch["data_samples"]):
            with learner.context(self.segmentor):
                losses = part.losses()
            total, figures = self.log_losses(part.name, losses)
            learner.backward(part.weight * total)
            totals.append(part.weight * total.detach())
            logs |= figures
        self.after_step(updated=learner.finish())
        return {"loss": torch.stack(totals).sum(), **logs}

    def after_step(self, *, updated: bool) -> None:
        """Do what is to be done at the end of a step; nothing by default.

        Args:
            updated: Whether the weights have changed, or gradients are accumulated.
        """

    def loss(
        self, inputs: dict[str, Tensor], data_samples: dict[str, Sequence[SegDataSample]]
    ) -> LogVars:
        """Return all losses by part and name, without the weights of the parts.

        Args:
            inputs: (B, 3, H, W) by domain.
            data_samples: By domain.
        """
        return {
            f"{part.name}.{key}": value
            for part in self.parts(inputs, data_samples)
            for key, value in part.losses().items()
        }
