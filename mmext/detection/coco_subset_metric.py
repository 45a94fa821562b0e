"""COCO figures for a part of the images that a loader yields."""

from typing import Any

from mmdet.evaluation import CocoMetric

from mmext.registry import METRICS


@METRICS.register_module()
class CocoSubsetMetric(CocoMetric):
    """mmdet's ``CocoMetric`` over the images of its own ``ann_file``; others are ignored.

    So one test run over several sets, listed in one file, gives the figures of each: one metric
    per set, told apart by ``prefix``. Image ids have to be unique over the sets.

    Args:
        ann_file: COCO json with the images to evaluate.
        **kwargs: As ``CocoMetric``.
    """

    def __init__(self, ann_file: str, **kwargs: Any) -> None:
        super().__init__(ann_file=ann_file, **kwargs)

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Evaluate the results of this metric's images.

        Args:
            results: (ground truth, prediction) of every image of the loader.

        Returns:
            COCO figures as ``CocoMetric`` names them.
        """
        return super().compute_metrics(self.own_results(results))

    def own_results(self, results: list[tuple[dict, dict]]) -> list[tuple[dict, dict]]:
        """Return those of ``results`` whose images are in ``ann_file``."""
        own = set(self._coco_api.get_img_ids())
        return [pair for pair in results if pair[1]["img_id"] in own]
