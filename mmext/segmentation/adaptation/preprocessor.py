"""Batches of several domains on the way to a model."""

from collections.abc import Mapping

from mmengine.model import BaseDataPreprocessor
from torch import nn

from mmext.registry import MODELS

from ..datasets.multi_domain import ROLE
from ..datasets.pseudo import LABEL_SOURCE


@MODELS.register_module()
class MultiDomainDataPreprocessor(BaseDataPreprocessor):
    """Applies a data preprocessor of mmseg's to each domain of a batch.

    Batches of one domain, as in tests, go through ``default``. A batch in which the images of a
    target have labels that are no pseudo labels is refused: it did not come from a
    :class:`~mmext.segmentation.datasets.MultiDomainDataset`, and training on it would measure
    something else than adaptation.

    Args:
        default: Config of mmseg's ``SegDataPreProcessor``, or a built one.
        domains: Such for domains that need another, by their names.
    """

    def __init__(
        self,
        *,
        default: dict | nn.Module,
        domains: Mapping[str, dict | nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.default = _built(default)
        self.domains = nn.ModuleDict(
            {name: _built(config) for name, config in (domains or {}).items()}
        )

    def forward(self, data: dict, training: bool = False) -> dict:
        """Preprocess a batch.

        Args:
            data: ``inputs`` and ``data_samples``, each a list, or a dict of lists by domain.
            training: As for mmseg's preprocessor.

        Returns:
            The batch in the same form: ``inputs`` are (B, 3, H, W).

        Raises:
            ValueError: Images of a target have labels.
        """
        if not isinstance(data["inputs"], Mapping):
            return self.default(data, training)
        batch = dict(inputs={}, data_samples={})
        for name, images in data["inputs"].items():
            samples = data["data_samples"][name]
            for sample in samples:
                labelled = "gt_sem_seg" in sample and sample.get(LABEL_SOURCE) != "pseudo"
                if sample.get(ROLE) == "target" and labelled:
                    raise ValueError(
                        f"{sample.get('img_path')} of the target {name!r} comes with labels. "
                        "Labels of targets are never used in training; use a MultiDomainDataset."
                    )
            out = self.of_domain(name)(dict(inputs=images, data_samples=samples), training)
            batch["inputs"][name] = out["inputs"]
            batch["data_samples"][name] = out["data_samples"]
        return batch

    def of_domain(self, name: str) -> nn.Module:
        """Return the preprocessor of a domain."""
        if name in self.domains:
            return self.domains[name]
        return self.default


def _built(config: dict | nn.Module) -> nn.Module:
    return config if isinstance(config, nn.Module) else MODELS.build(config)
