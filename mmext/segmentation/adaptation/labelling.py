"""Running a trained segmentor over a target's images to write pseudo labels."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import Tensor

from mmext.engine.preflight import walk

from ..datasets.pseudo import image_info, loads_labels, png_name, unlabelled
from ..pseudo_labels import PseudoLabelWriter, confident_labels, generate_pseudo_labels
from .segmentors import raw_logits
from .wrapper import AdaptationModel


class TargetLabeller:
    """A trained segmentor and the images of a target, under the pipeline of the config's tests.

    Args:
        cfg: Config of an adaptation, or of one of mmseg's trainings.
        checkpoint: Checkpoint of it.
        domain: Name of the target; None: the only one.
        device: Where to predict; None: the accelerator, if there is one.

    Raises:
        ValueError: There is no such target.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str | Path,
        *,
        domain: str | None = None,
        device: str | None = None,
    ) -> None:
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmseg")):
            model = MODELS.build(cfg.model)
            load_checkpoint(model, str(checkpoint), map_location="cpu", strict=True)
            self.model = model.to(device or get_device()).eval()
            self.images = unlabelled(target_config(cfg, domain), f"target {domain or ''}")
            self.pipeline = Compose(
                [step for step in _test_pipeline(cfg) if loads_labels(Compose([step])) is None]
            )
        self.classes = tuple(self.images.metainfo["classes"])
        self.num_classes = len(self.classes)
        wrapped = isinstance(self.model, AdaptationModel)
        self.segmentor = self.model.segmentor if wrapped else self.model

    def __len__(self) -> int:
        return len(self.images)

    def write(
        self, writer: PseudoLabelWriter, progress: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """Write the labels of all images; see :func:`generate_pseudo_labels`.

        Args:
            writer: Where to write.
            progress: Called three times for each image.
        """
        return generate_pseudo_labels(self.predict, self._items(), writer, progress)

    def predict(self, batch: dict) -> tuple[Tensor, Tensor]:
        """Return classes and confidences of an image, in its own size.

        Args:
            batch: A collated batch of one image.
        """
        shape = batch["data_samples"][0].ori_shape[:2]
        inputs = self.model.data_preprocessor(batch, False)["inputs"]
        logits = raw_logits(self.segmentor, inputs)
        return confident_labels(logits, tuple(shape), self.segmentor.align_corners)

    def _items(self) -> Iterator[tuple[str, Callable[[], dict]]]:
        folder = self.images.data_prefix["img_path"]
        for index in range(len(self.images)):
            info = image_info(self.images, index)
            yield png_name(info["img_path"], folder), partial(self._load, info)

    def _load(self, info: dict) -> dict:
        return pseudo_collate([self.pipeline(info)])


def _test_pipeline(cfg: Config) -> list[dict]:
    """Return the first pipeline below ``test_dataloader``: it does nothing at random."""
    for key, node in walk(cfg.get("test_dataloader"), "test_dataloader"):
        if "pipeline" in node and ".dataset" in key:
            return node["pipeline"]
    raise ValueError(
        "the config has no test_dataloader with a pipeline. Add one: pseudo labels are predicted "
        "in the same way as in tests."
    )


def target_config(cfg: Config, domain: str | None) -> Mapping[str, Any]:
    """Return the config of the data set of a target.

    Args:
        cfg: The whole config.
        domain: Name of the target; None: the only one.

    Raises:
        ValueError: There is no such target, or there are several.
    """
    dataset = cfg.train_dataloader.dataset
    if "targets" in dataset:
        targets = dataset.targets
        if domain is None and len(targets) == 1:
            domain = next(iter(targets))
        if domain not in targets:
            raise ValueError(
                f"the config has the targets {list(targets)}, and the domain asked for is "
                f"{domain!r}. Name one of them with --domain."
            )
        dataset = targets[domain]
    # A target with pseudo labels of an earlier round.
    return dataset.dataset if "label_dir" in dataset else dataset
