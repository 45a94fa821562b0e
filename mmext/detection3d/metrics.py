"""mAP and mAR of indoor detectors, and their result files."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from terminaltables import AsciiTable

from mmext.registry import METRICS

from .average_precision import (
    APTable,
    SceneMatches,
    average_precision,
    match_scene,
    to_numpy,
    to_tensor,
)
from .result_files import FORMATS, write_scene
from .structures import Boxes3D


def format_table(table: APTable, classes: Sequence[str]) -> str:
    """Return AP and recall per class, in percent, for a terminal.

    Args:
        table: Figures of C classes.
        classes: C names.
    """
    head = ["class", "objects", "detections"]
    for threshold in table.iou_thrs:
        head += [f"AP {threshold:.2f}", f"AR {threshold:.2f}"]
    columns = np.stack((table.ap, table.recall), axis=1).reshape(-1, len(classes))
    rows = [head]
    for label, name in enumerate(classes):
        counts = [str(table.num_objects[label]), str(table.num_detections[label])]
        shown = ["-" if np.isnan(v) else f"{100 * v:.2f}" for v in columns[:, label]]
        rows.append([name, *counts, *shown])
    means = np.stack(table.means(), axis=1).ravel()
    counts = [str(table.num_objects.sum()), str(table.num_detections.sum())]
    rows.append(
        [f"mean of {int((table.num_objects > 0).sum())}", *counts]
        + ["-" if np.isnan(v) else f"{100 * v:.2f}" for v in means]
    )
    drawn = AsciiTable(rows)
    drawn.inner_footing_row_border = True
    return str(drawn.table)


@METRICS.register_module()
class IndoorMetric(BaseMetric):
    """mAP and mAR of 3-D boxes at several IoUs, in one pass, as VoteNet's evaluation defines them.

    Figures are fractions: ``mAP_0.25``, ``mAR_0.25`` and so on, means over the classes that have
    objects, whose number is ``num_classes``; the table per class goes to the log. Where predictions
    carry ``pred_ensembles_3d``, instances by the name of a stage ensemble, each has figures of its
    own, such as ``last_three_mAP_0.25``. The IoU is exact, of oriented boxes, in float64.

    Two faults of the official evaluation are left out, and come back by option. A class that is
    predicted but has no object is 0 / 0 there and makes the mean NaN (``official_nan``). On SUN
    RGB-D, Group-Free-3D's boxes of the ground truth have the sizes of their axis-aligned hulls
    together with their yaw (``hull_size_gt``); its published figures are not those of VoteNet's
    evaluation.

    Args:
        iou_thrs: Thresholds; a match needs an IoU above.
        official_nan: Let classes without objects take part in the mean, as NaN.
        hull_size_gt: Give boxes of the ground truth the sizes of their axis-aligned hulls.
        format_only: Write the results and evaluate nothing; for scenes without labels.
        out_dir: Folder to write a text file per scene into; None writes none.
        out_format: ``text`` or ``votenet``, see :mod:`mmext.detection3d.result_files`.
        collect_device: As for :class:`mmengine.evaluator.BaseMetric`.
        prefix: Prefix of the figures' names; ``indoor`` by default.

    Raises:
        ValueError: A value is out of its range, or two do not go together.
    """

    default_prefix = "indoor"

    def __init__(
        self,
        *,
        iou_thrs: Sequence[float] = (0.25, 0.5),
        official_nan: bool = False,
        hull_size_gt: bool = False,
        format_only: bool = False,
        out_dir: str | None = None,
        out_format: str = "text",
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.iou_thrs = tuple(float(threshold) for threshold in iou_thrs)
        if not self.iou_thrs or not all(0 <= threshold < 1 for threshold in self.iou_thrs):
            raise ValueError(f"iou_thrs is {iou_thrs!r}: expected one or more numbers in [0, 1)")
        if out_format not in FORMATS:
            raise ValueError(f"out_format is {out_format!r}: expected one of {FORMATS}")
        if format_only and out_dir is None:
            raise ValueError("format_only=True needs out_dir: the folder to write the results into")
        self.official_nan = official_nan
        self.hull_size_gt = hull_size_gt
        self.format_only = format_only
        self.out_dir = out_dir
        self.out_format = out_format

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Match the detections of a batch with its objects, and write them if asked to.

        Args:
            data_batch: Not used.
            data_samples: Samples with ``pred_instances_3d``, and ``gt_instances_3d`` unless
                ``format_only``.
        """
        for sample in data_samples:
            found = {"": sample["pred_instances_3d"], **sample.get("pred_ensembles_3d", {})}
            predictions = {name: _detections(part, sample) for name, part in found.items()}
            if self.out_dir is not None:
                self._write(str(sample["sample_idx"]), *predictions[""])
            self.results.append(None if self.format_only else self._match(sample, predictions))

    def _write(
        self, scene: str, boxes: torch.Tensor, labels: np.ndarray, scores: np.ndarray
    ) -> None:
        classes, folder = self.dataset_meta["classes"], Path(self.out_dir)
        write_scene(folder, scene, Boxes3D(boxes), labels, scores, classes, self.out_format)

    def _match(
        self, sample: Mapping[str, Any], predictions: Mapping[str, tuple]
    ) -> dict[str, SceneMatches]:
        truth = sample.get("gt_instances_3d")
        if truth is None:
            raise ValueError(
                f"IndoorMetric: {sample.get('sample_idx')} has no gt_instances_3d. Add "
                "LoadIndoorAnnotations to the pipeline, or set format_only=True and out_dir to "
                "write results without evaluating them."
            )
        boxes, labels = to_tensor(_tensor(truth["bboxes_3d"])), to_numpy(truth["labels_3d"])
        if self.hull_size_gt:
            boxes = torch.cat((boxes[:, :3], Boxes3D(boxes).hulls.sizes, boxes[:, 6:]), dim=1)
        return {name: match_scene(*part, boxes, labels) for name, part in predictions.items()}

    def compute_metrics(
        self, results: Sequence[dict[str, SceneMatches] | None]
    ) -> dict[str, float]:
        """Return the figures by name; none with ``format_only``."""
        logger = MMLogger.get_current_instance()
        if self.out_dir is not None:
            logger.info(f"results of {len(results)} scenes are in {self.out_dir}")
        if self.format_only:
            return {}
        classes, figures = self.dataset_meta["classes"], {}
        for name in results[0]:
            scenes = [scene[name] for scene in results]
            table = average_precision(scenes, len(classes), self.iou_thrs)
            logger.info(f"{name}\n{format_table(table, classes)}")
            begin = f"{name}_" if name else ""
            means = table.means(self.official_nan)
            for threshold, ap, recall in zip(self.iou_thrs, *means, strict=True):
                figures[f"{begin}mAP_{threshold:.2f}"] = float(ap)
                figures[f"{begin}mAR_{threshold:.2f}"] = float(recall)
        present = int((table.num_objects > 0).sum())
        if not present:
            warnings.warn("IndoorMetric: no scene has an object, so that there is no mAP (NaN)")
        return figures | {"num_classes": present}


def _tensor(boxes: Boxes3D | torch.Tensor | np.ndarray) -> torch.Tensor | np.ndarray:
    return boxes.tensor if isinstance(boxes, Boxes3D) else boxes


def _detections(
    instances: Mapping[str, Any], sample: Mapping[str, Any]
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Return (N, 7) boxes, (N,) labels and (N,) scores of predicted instances."""
    boxes = to_tensor(_tensor(instances["bboxes_3d"]))
    labels, scores = to_numpy(instances["labels_3d"]), to_numpy(instances["scores_3d"])
    if np.isnan(scores).any() or not boxes.isfinite().all():
        raise ValueError(
            f"IndoorMetric: {sample.get('sample_idx')} has predictions with NaN. The training has "
            "diverged, or the input has NaN; lower the learning rate, or look at the points."
        )
    return boxes, labels, scores
