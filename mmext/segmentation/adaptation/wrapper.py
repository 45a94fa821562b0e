"""What all adaptation methods share: a wrapper around any segmentor of mmseg's."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmext.engine import IterationPasses
from mmext.registry import MODELS

from ..datasets.multi_domain import ROLE
from ..datasets.pseudo import LABEL_SOURCE
from .preprocessor import MultiDomainDataPreprocessor

LogVars = dict[str, Tensor]


class AdaptationModel(BaseModel):
    """A segmentor that learns from several domains; tests and predictions are the segmentor's own.

    Args:
        segmentor: Config of any segmentor of mmseg's, such as the ``model`` of one of its configs.
        data_preprocessor: Config of a :class:`MultiDomainDataPreprocessor`, or of mmseg's
            preprocessor for all domains. None: that of the segmentor.
        init_cfg: As for :class:`mmengine.model.BaseModule`.
    """

    model_wrapper_cfg: ClassVar[dict] = dict(type="mmext.AveragedDataParallel")
    """How mmext's runner wraps the model on several processes."""

    def __init__(
        self,
        *,
        segmentor: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        built = MODELS.build(segmentor)
        if not isinstance(built, BaseSegmentor):
            raise TypeError(
                f"model.segmentor builds a {type(built).__name__}. Expected a segmentor of "
                "mmseg's, such as type='EncoderDecoder'."
            )
        super().__init__(_preprocessor(data_preprocessor, built), init_cfg)
        self.segmentor = built

    def forward(
        self,
        inputs: Tensor | dict[str, Tensor],
        data_samples: Sequence[SegDataSample] | dict[str, Sequence[SegDataSample]] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Predict with the segmentor, or compute the losses of all domains.

        Args:
            inputs: (B, 3, H, W), or such by domain for ``'loss'``.
            data_samples: One per image, or such lists by domain.
            mode: ``'tensor'`` and ``'predict'`` are the segmentor's; ``'loss'`` returns what a
                training step would minimise, all at once.
        """
        if mode == "loss":
            return self.loss(inputs, data_samples)
        return self.segmentor(inputs, data_samples, mode=mode)

    @abstractmethod
    def loss(
        self, inputs: dict[str, Tensor], data_samples: dict[str, Sequence[SegDataSample]]
    ) -> LogVars:
        """Return the losses of all parts by name."""

    def log_losses(self, prefix: str, losses: dict[str, Tensor]) -> tuple[Tensor, LogVars]:
        """Add up losses.

        Args:
            prefix: What to write before their names.
            losses: Losses and figures by name; those with ``loss`` in the name are added up.

        Returns:
            The sum, and what to log.
        """
        total, figures = self.parse_losses(losses)
        figures.pop("loss")
        return total, {f"{prefix}.{name}": value.detach() for name, value in figures.items()}


def split_domains(samples: dict[str, Sequence[SegDataSample]]) -> tuple[list[str], list[str]]:
    """Return the names of the sources and of the targets of a batch.

    Args:
        samples: The samples of each domain, as a ``MultiDomainDataset`` marks them.

    Raises:
        TypeError: The batch is of a single domain.
        ValueError: There is no source.
    """
    if not isinstance(samples, dict):
        raise TypeError(
            "the batch has one domain only. Expected train_dataloader.dataset to be an "
            "mmext.MultiDomainDataset."
        )
    roles = {name: part[0].get(ROLE) for name, part in samples.items()}
    sources = [name for name, role in roles.items() if role == "source"]
    if not sources:
        raise ValueError(f"the batch has the domains {roles}: expected one of them to be a source")
    return sources, [name for name, role in roles.items() if role == "target"]


def has_pseudo_labels(samples: Sequence[SegDataSample]) -> bool:
    """Tell whether the images of a target have pseudo labels to learn from."""
    return all(
        "gt_sem_seg" in sample and sample.get(LABEL_SOURCE) == "pseudo" for sample in samples
    )


def passes_of(optim_wrapper: OptimWrapper, names: Sequence[str]) -> dict[str, IterationPasses]:
    """Return the passes of an iteration for each of a model's optimisers.

    Args:
        optim_wrapper: What the config's ``optim_wrapper`` builds.
        names: The names that the model needs.

    Raises:
        TypeError: Other optimisers are there.
    """
    found = list(optim_wrapper.keys()) if isinstance(optim_wrapper, OptimWrapperDict) else None
    if found is None or set(found) != set(names):
        raise TypeError(
            f"optim_wrapper has {found or 'a single optimiser'}. Expected "
            "optim_wrapper=dict(constructor='mmext.MultiOptimWrapperConstructor', "
            f"{', '.join(f'{name}=dict(optimizer=...)' for name in names)})."
        )
    return {name: IterationPasses(optim_wrapper[name]) for name in names}


def _preprocessor(config: dict | None, segmentor: BaseSegmentor) -> nn.Module:
    if config is None:
        return MultiDomainDataPreprocessor(default=segmentor.data_preprocessor)
    built = config if isinstance(config, nn.Module) else MODELS.build(config)
    if isinstance(built, MultiDomainDataPreprocessor):
        return built
    return MultiDomainDataPreprocessor(default=built)
