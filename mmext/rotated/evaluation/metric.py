"""The metric of rotated detectors: devkit AP on patches or merged images, and submission files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmext.registry import METRICS

from .average_precision import MODES, Matches, match, score_matches
from .dota_files import read_ground_truth, write_task_zip
from .patches import MERGE_IOU, merge_patches
from .quads import aspect_ratios
from .records import Detections, GroundTruth
from .report import format_table, threshold_name
from .samples import image_name, join_predictions, join_truths, prediction_of, truth_of


@METRICS.register_module()
class RotatedDetectionMetric(BaseMetric):
    """AP of rotated boxes by the rules of DOTA's devkit, on patches or after merging them.

    Figures are fractions, not rounded: ``mAP``, the mean over ``iou_thrs`` and classes, and one
    such as ``AP50`` per threshold. The table per class goes to the log. Differences from mmrotate's
    ``DOTAMetric``: a match needs IoU above the threshold, not at it; merged patches are evaluated,
    not only written; a difficult object stays difficult in an image without others; classes without
    objects count as 0 in the mean, as in the devkit, unless ``skip_absent_classes``.

    Ground truth comes with the data samples (rboxes or quadrilaterals; mind that mmrotate's data
    sets mark difficult objects only with ``diff_thr=0``) or from the txt files in ``ann_dir``,
    whose difficulties always count.

    Args:
        iou_thrs: One threshold or several.
        eval_mode: ``"11points"`` (VOC 2007, what DOTA's server reports) or ``"area"`` (VOC 2012).
        merge_patches: Move detections from patches named ``{id}__{window}__{x}___{y}`` into their
            images and suppress what overlapping patches double. Needs ``ann_dir`` or
            ``format_only``.
        merge_iou: IoU threshold of that suppression.
        ann_dir: Folder of the evaluated images' DOTA txt files (of the whole images when merging).
        aspect_bins: Ascending edges such as ``(1, 2, 4, 8)``: also report the AP of objects whose
            long to short side lies in [1, 2), [2, 4), [4, 8), [8, inf), as ``AP50_aspect_1-2`` to
            ``AP50_aspect_8+``. Other objects are ignored like difficult ones, a detection without
            any object counts as false in each bin, and the mean is over classes present in it.
        skip_absent_classes: Leave classes without objects out of the mean.
        format_only: Write the submission and evaluate nothing.
        outfile_prefix: Write ``<prefix>_Task1.zip`` and ``<prefix>_Task2.zip``.
        collect_device: As mmengine's.
        prefix: As mmengine's; ``dota`` by default, as mmrotate's metric has it.

    Raises:
        ValueError: A value is out of its range, or two do not go together.
    """

    default_prefix = "dota"

    def __init__(
        self,
        *,
        iou_thrs: float | Sequence[float] = 0.5,
        eval_mode: str = "11points",
        merge_patches: bool = False,
        merge_iou: float = MERGE_IOU,
        ann_dir: str | None = None,
        aspect_bins: Sequence[float] | None = None,
        skip_absent_classes: bool = False,
        format_only: bool = False,
        outfile_prefix: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.iou_thrs = (
            (float(iou_thrs),) if isinstance(iou_thrs, (int, float)) else tuple(iou_thrs)
        )
        if not self.iou_thrs or not all(0 <= threshold < 1 for threshold in self.iou_thrs):
            raise ValueError(f"iou_thrs is {iou_thrs!r}: expected one or more numbers in [0, 1)")
        if len(set(map(threshold_name, self.iou_thrs))) != len(self.iou_thrs):
            raise ValueError(f"iou_thrs is {iou_thrs!r}: a threshold is given twice")
        if eval_mode not in MODES:
            raise ValueError(f"eval_mode is {eval_mode!r}: expected one of {MODES}")
        if not 0 <= merge_iou <= 1:
            raise ValueError(f"merge_iou is {merge_iou!r}: expected a number in [0, 1]")
        if format_only and outfile_prefix is None:
            raise ValueError("format_only=True needs outfile_prefix: where to write the zips")
        if merge_patches and not format_only and ann_dir is None:
            raise ValueError(
                "merge_patches=True needs ann_dir, the folder of the whole images' txt files (such "
                "as 'data/DOTA/val/labelTxt'), or format_only=True"
            )
        if aspect_bins is not None and (
            len(aspect_bins) == 0 or aspect_bins[0] < 1 or not (np.diff(aspect_bins) > 0).all()
        ):
            raise ValueError(
                f"aspect_bins is {aspect_bins!r}: expected ascending edges from 1 up, such as "
                "(1, 2, 4, 8)"
            )
        self.eval_mode = eval_mode
        self.merge_patches = merge_patches
        self.merge_iou = merge_iou
        self.ann_dir = ann_dir
        self.aspect_bins = aspect_bins
        self.skip_absent_classes = skip_absent_classes
        self.format_only = format_only
        self.outfile_prefix = outfile_prefix

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the boxes of a batch.

        Args:
            data_batch: Not used.
            data_samples: Predictions, with ground truth unless it comes from ``ann_dir``.
        """
        with_truth = not self.format_only and self.ann_dir is None
        for sample in data_samples:
            name, prediction = image_name(sample), prediction_of(sample)
            self.results.append((name, prediction, truth_of(sample) if with_truth else None))

    def compute_metrics(
        self, results: list[tuple[str, dict[str, np.ndarray], dict[str, np.ndarray] | None]]
    ) -> dict[str, float]:
        """Evaluate, or write the submission.

        Args:
            results: What :meth:`process` kept, of all processes.

        Returns:
            The figures, by name; none with ``format_only``.
        """
        logger = MMLogger.get_current_instance()
        classes = self.dataset_meta["classes"]
        names, predictions, truths = zip(*results, strict=True)
        detections = join_predictions(names, predictions)
        whole = self._merged(detections, horizontal=False)
        if self.outfile_prefix is not None:
            for task in (1, 2):
                found = whole if task == 1 else self._merged(detections, horizontal=True)
                path = Path(f"{self.outfile_prefix}_Task{task}.zip")
                logger.info(f"wrote {write_task_zip(path, found, classes, task=task)}")
        if self.format_only:
            return {}
        if self.ann_dir is None:
            truth = join_truths(names, truths)
        else:
            truth = read_ground_truth(Path(self.ann_dir), classes, whole.images)
        return self._evaluate(whole, truth, classes, logger)

    def _merged(self, detections: Detections, *, horizontal: bool) -> Detections:
        if not self.merge_patches:
            return detections
        return merge_patches(detections, iou_threshold=self.merge_iou, horizontal=horizontal)

    def _evaluate(
        self, detections: Detections, truth: GroundTruth, classes: Sequence[str], logger: MMLogger
    ) -> dict[str, float]:
        matches = match(detections, truth, num_classes=len(classes), min_iou=min(self.iou_thrs))
        options = dict(iou_thrs=self.iou_thrs, eval_mode=self.eval_mode)
        result = score_matches(matches, truth.difficult, **options)
        absent = [
            name for name, count in zip(classes, result.num_objects, strict=True) if not count
        ]
        if absent and not self.skip_absent_classes:
            logger.warning(
                f"no objects of {len(absent)} classes, which count as AP 0: {', '.join(absent)} "
                "(skip_absent_classes=True leaves them out of the mean)"
            )
        logger.info("\n" + format_table(result, classes))
        means = result.mean_ap(skip_absent=self.skip_absent_classes)
        figures = {"mAP": float(means.mean())}
        for threshold, value in zip(self.iou_thrs, means, strict=True):
            figures[threshold_name(threshold)] = float(value)
        if self.aspect_bins is not None:
            figures |= self._by_aspect(matches, truth)
        return figures

    def _by_aspect(self, matches: Matches, truth: GroundTruth) -> dict[str, float]:
        ratios = aspect_ratios(truth.corners)
        figures = {}
        for low, high in zip(self.aspect_bins, [*self.aspect_bins[1:], np.inf], strict=True):
            ignored = truth.difficult | (ratios < low) | (ratios >= high)
            result = score_matches(
                matches, ignored, iou_thrs=self.iou_thrs, eval_mode=self.eval_mode
            )
            name = f"{low:g}+" if np.isinf(high) else f"{low:g}-{high:g}"
            means = result.mean_ap(skip_absent=True)
            for threshold, value in zip(self.iou_thrs, means, strict=True):
                figures[f"{threshold_name(threshold)}_aspect_{name}"] = float(value)
        return figures
