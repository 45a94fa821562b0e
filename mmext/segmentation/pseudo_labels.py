"""Pseudo labels of a target: per-class thresholds in constant memory, files that can be resumed.

The rule of BDL's code: for each class, sort the confidences of all pixels of the data set that are
predicted as it, take the one at the middle, at most 0.9, as the threshold of the class. The
official script keeps all confidences in memory (25 GB for Cityscapes). Here confidences are rounded
down to ``BINS`` steps and counted, so that thresholds are exact within a step and the memory does
not depend on the number of images.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmext.files import write_file

from .datasets.class_sets import IGNORE
from .datasets.files import write_png

BINS = 4096
"""Steps of a confidence; 12 bits."""


def quantise_confidence(confidence: Tensor, bins: int = BINS) -> Tensor:
    """Round confidences down to steps.

    Args:
        confidence: Any shape, in [0, 1].
        bins: Number of steps.

    Returns:
        int32 of the same shape, 0 to ``bins - 1``.
    """
    return (confidence.double() * bins).int().clamp_(0, bins - 1)


class ConfidenceHistogram:
    """How many pixels of each class have which confidence, over a whole data set.

    Args:
        num_classes: Number of classes, C.
        bins: Steps of a confidence.

    Attributes:
        counts: (C, bins) int64 on the CPU.
    """

    def __init__(self, num_classes: int, bins: int = BINS) -> None:
        self.counts = torch.zeros(num_classes, bins, dtype=torch.int64)

    def update(self, label: Tensor, step: Tensor) -> None:
        """Count the pixels of an image.

        Args:
            label: Predicted classes, integers of any shape.
            step: Their confidences, of :func:`quantise_confidence`, on the same device.
        """
        classes, bins = self.counts.shape
        cell = label.to(torch.int32) * bins + step
        self.counts += (
            torch.bincount(cell.flatten(), minlength=classes * bins).view(classes, bins).cpu()
        )

    def ranked_steps(self, portion: float = 0.5) -> Tensor:
        """Return the step of the confidence at a rank of each class.

        Args:
            portion: The rank is ``round(portion * n)`` in ascending order, counted from 0, of the
                n pixels of the class. Halves are rounded to the even neighbour, as numpy does.

        Returns:
            (C,) int64; 0 for classes that are never predicted.
        """
        total = self.counts.sum(dim=1)
        rank = torch.round(portion * total.double()).long().clamp(max=total - 1)
        below = self.counts.cumsum(dim=1)
        # The first step up to which there are more than `rank` pixels.
        steps = torch.searchsorted(below, rank[:, None], right=True).squeeze(1)
        return torch.where(total > 0, steps, 0)


@dataclass(frozen=True)
class PseudoLabelRule:
    """Which pixels keep their label.

    Attributes:
        kind: ``'class_median'``: those at least as confident as the middle of their class, at most
            ``ceiling`` (BDL's code). ``'fixed'``: those at least as confident as ``ceiling`` (BDL's
            paper).
        ceiling: Threshold, or its upper bound.
        portion: Which part of a class is left out at least, for ``'class_median'``.
    """

    kind: str = "class_median"
    ceiling: float = 0.9
    portion: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("class_median", "fixed"):
            raise ValueError(
                f"the rule of pseudo labels is {self.kind!r}. Expected 'class_median' or 'fixed'."
            )
        if not (0 <= self.ceiling <= 1 and 0 <= self.portion <= 1):
            raise ValueError(
                f"ceiling is {self.ceiling}, portion {self.portion}: expected values from 0 to 1."
            )

    def steps(self, histogram: ConfidenceHistogram) -> Tensor:
        """Return the (C,) int64 steps from which pixels of each class are kept."""
        classes, bins = histogram.counts.shape
        # The step that the ceiling itself is in: a confidence of exactly 0.9 is kept.
        highest = int(quantise_confidence(torch.tensor(self.ceiling), bins))
        if self.kind == "fixed":
            return torch.full((classes,), highest)
        return histogram.ranked_steps(self.portion).clamp(max=highest)


def select_labels(label: Tensor, step: Tensor, thresholds: Tensor) -> Tensor:
    """Return the labels of confident pixels.

    Args:
        label: Predicted classes, integers of any shape.
        step: Confidences of :func:`quantise_confidence`.
        thresholds: (C,) step from which a class is kept.

    Returns:
        uint8 of the same shape, 255 where the prediction is not confident.
    """
    kept = step >= thresholds.to(step)[label.long()]
    return torch.where(kept, label, IGNORE).to(torch.uint8)


def confident_labels(
    logits: Tensor, size: tuple[int, int], align_corners: bool
) -> tuple[Tensor, Tensor]:
    """Return classes and confidences at the size of the image.

    Args:
        logits: (1, C, h, w) of the network.
        size: (H, W) to enlarge probabilities to. BDL's code enlarges them, not the logits.
        align_corners: As for :func:`torch.nn.functional.interpolate`.

    Returns:
        (H, W) int64 classes and (H, W) confidences.
    """
    probabilities = functional.interpolate(
        logits.float().softmax(dim=1), size=size, mode="bilinear", align_corners=align_corners
    )
    confidence, label = probabilities[0].max(dim=0)
    return label, confidence


class PseudoLabelWriter:
    """Writes pseudo labels in two rounds: first predictions, then, thresholds known, labels.

    The first round keeps class and confidence of each image in ``<folder>/.predictions``; a file
    that is there is complete and is not computed again, so that a run that was stopped goes on.
    ``pseudo_labels.json`` is written last: with it the folder is complete.

    Args:
        folder: Folder of the labels.
        num_classes: Number of classes.
        rule: Which pixels are kept.
        source: What the predictions depend on, such as the checkpoint; a folder begun with another
            is begun anew.
    """

    def __init__(
        self, folder: str | Path, num_classes: int, rule: PseudoLabelRule, source: dict
    ) -> None:
        self.folder = Path(folder)
        self.num_classes = num_classes
        self.rule = rule
        self.source = json.loads(json.dumps(source))
        self.staging = self.folder / ".predictions"
        self.manifest = self.folder / "pseudo_labels.json"
        if self.staging.is_dir() and self._begun_with() != self.source:
            shutil.rmtree(self.staging)
        if not self.is_complete():
            self.manifest.unlink(missing_ok=True)
            self.staging.mkdir(parents=True, exist_ok=True)
            (self.staging / "source.json").write_text(json.dumps(self.source))

    def is_complete(self) -> bool:
        """Tell whether the folder holds the labels of this rule and source."""
        if not self.manifest.is_file():
            return False
        content = json.loads(self.manifest.read_text())
        return content["rule"] == asdict(self.rule) and content["source"] == self.source

    def _begun_with(self) -> dict | None:
        try:
            return json.loads((self.staging / "source.json").read_text())
        except (OSError, ValueError):
            return None

    def is_predicted(self, name: str) -> bool:
        """Tell whether the prediction of an image is there.

        Args:
            name: Name of the label file, relative to the folder.
        """
        return (self.staging / name).is_file()

    def add(self, name: str, label: Tensor, confidence: Tensor) -> None:
        """Keep a prediction.

        Args:
            name: Name of the label file, relative to the folder, ending with ``.png``.
            label: (H, W) classes.
            confidence: (H, W), in [0, 1].
        """
        step = quantise_confidence(confidence)
        # A pixel in 24 bits: the class, and the 12 bits of the confidence.
        packed = torch.stack((label.int(), step >> 8, step & 255), dim=-1)
        write_png(self.staging / name, packed.to(torch.uint8).cpu().numpy())

    def finish(
        self, names: Sequence[str], progress: Callable[[], None] = lambda: None
    ) -> dict[str, object]:
        """Compute the thresholds and write the labels of all images.

        Args:
            names: Names of the label files.
            progress: Called twice for each image.

        Returns:
            The content of ``pseudo_labels.json``: rule, source, threshold and kept share of each
            class.
        """
        histogram = ConfidenceHistogram(self.num_classes)
        for name in names:
            histogram.update(*self._read(name))
            progress()
        thresholds = self.rule.steps(histogram)
        for name in names:
            label = select_labels(*self._read(name), thresholds)
            write_png(self.folder / name, label.numpy())
            progress()
        content = dict(
            rule=asdict(self.rule),
            source=self.source,
            images=len(names),
            thresholds=(thresholds.double() / BINS).tolist(),
            kept=_kept_share(histogram.counts, thresholds),
        )
        write_file(self.manifest, json.dumps(content, indent=2))
        shutil.rmtree(self.staging)
        return content

    def _read(self, name: str) -> tuple[Tensor, Tensor]:
        """Return (H, W) int32 classes and steps of an image."""
        packed = cv2.imread(str(self.staging / name), cv2.IMREAD_COLOR)
        if packed is None:
            raise FileNotFoundError(
                f"{self.staging / name} is missing or damaged: run the command again"
            )
        channels = torch.from_numpy(packed.astype(np.int32))
        return channels[..., 0], (channels[..., 1] << 8) + channels[..., 2]


def _kept_share(counts: Tensor, thresholds: Tensor) -> list[float]:
    """Return the share of each class's pixels that is kept; 0 for classes never predicted."""
    kept = torch.arange(counts.shape[1]) >= thresholds[:, None]
    total = counts.sum(dim=1)
    return ((counts * kept).sum(dim=1) / total.clamp(min=1)).tolist()


@torch.no_grad()
def generate_pseudo_labels(
    predict: Callable[[dict], tuple[Tensor, Tensor]],
    items: Iterable[tuple[str, Callable[[], dict]]],
    writer: PseudoLabelWriter,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, object]:
    """Predict what is missing and write the labels.

    Args:
        predict: Maps a batch of one image to classes and confidences, both (H, W).
        items: Name of the label file and what loads the batch, for each image.
        writer: Where to write.
        progress: Called three times for each image.

    Returns:
        The content of ``pseudo_labels.json``.

    Raises:
        ValueError: There is no image.
    """
    names = []
    for name, load in items:
        names.append(name)
        if not writer.is_predicted(name):
            writer.add(name, *predict(load()))
        progress()
    if not names:
        raise ValueError("there is no image to write pseudo labels for")
    return writer.finish(names, progress)
