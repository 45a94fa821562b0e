"""The average false discovery rate of the CenterNet papers."""

import tempfile
from pathlib import Path

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval
from mmengine.fileio import load

from mmext.registry import METRICS

from .coco_subset_metric import CocoSubsetMetric

IOU_THRESHOLDS = np.arange(1, 11) * 0.05
_AREAS = {"s": 1, "m": 2, "l": 3}


@METRICS.register_module()
class FalseDiscoveryMetric(CocoSubsetMetric):
    """How many of the detections are wrong: 1 - AP at IoU thresholds from 0.05 to 0.5.

    ``AF`` is the mean over the ten thresholds and all classes, ``AF_5``, ``AF_25`` and ``AF_50``
    are those at one threshold (in percent), ``AF_s``, ``AF_m`` and ``AF_l`` those of small, medium
    and large boxes. All are between 0 and 1, lower is better, at most 100 detections per image;
    NaN where there are no boxes of a size.

    Args:
        ann_file: COCO json with the images to evaluate; others of the loader are ignored.
        **kwargs: As ``mmdet.CocoMetric``.

    Source: CenterNet (arXiv 1904.08189), section 4.3, there called FD; CenterNet++
    (arXiv 2204.08394) has the same figures.
    """

    default_prefix = "false_discovery"

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Evaluate the results of this metric's images.

        Args:
            results: (ground truth, prediction) of every image of the loader.

        Returns:
            The figures, by name.
        """
        categories = self._coco_api.get_cat_ids(cat_names=self.dataset_meta["classes"])
        self.cat_ids = categories
        with tempfile.TemporaryDirectory() as folder:
            predictions = [prediction for _, prediction in self.own_results(results)]
            files = self.results2json(predictions, str(Path(folder) / "results"))
            detections = load(files["bbox"])
        if not detections:
            names = ["AF", "AF_5", "AF_25", "AF_50", *(f"AF_{area}" for area in _AREAS)]
            return dict.fromkeys(names, 1.0)
        evaluation = COCOeval(self._coco_api, self._coco_api.loadRes(detections), "bbox")
        evaluation.params.catIds = categories
        evaluation.params.imgIds = self._coco_api.get_img_ids()
        evaluation.params.iouThrs = IOU_THRESHOLDS
        evaluation.params.maxDets = [1, 10, 100]
        evaluation.evaluate()
        evaluation.accumulate()
        # (threshold, recall, class, area, detections per image), -1 where a class has no boxes.
        precision = evaluation.eval["precision"][..., -1]
        figures = {"AF": false_discovery(precision[..., 0])}
        for threshold in (5, 25, 50):
            figures[f"AF_{threshold}"] = false_discovery(precision[threshold // 5 - 1, ..., 0])
        for name, index in _AREAS.items():
            figures[f"AF_{name}"] = false_discovery(precision[..., index])
        return figures


def false_discovery(precision: np.ndarray) -> float:
    """Return 1 - AP.

    Args:
        precision: Any shape, precisions at recalls from 0 to 1; -1 where nothing is to be found.

    Returns:
        NaN if nothing is to be found anywhere.
    """
    found = precision[precision > -1]
    return float(1 - found.mean()) if found.size else float("nan")
