"""Multi-scale testing of CenterNet++."""

from typing import Any

import torch
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData

from mmext.registry import MODELS

from .voting import vote_boxes


@MODELS.register_module()
class CenterNetPlusPlusTTA(DetTTAModel):
    """Detect in several scales, keep the sizes that each is good at, and merge by vote.

    Source: the official code of CenterNet++ (arXiv 2204.08394), test-time augmentation ``vote``.

    Args:
        tta_cfg (dict): ``scale_ranges``, for each scale of the pipeline the least and greatest
            square root of a box's area, in pixels of the original image and both included, None
            for no upper limit; ``iou_threshold`` and ``score_thr`` of :func:`vote_boxes`;
            ``max_per_img``, the detections kept per image.
        **kwargs (Any): ``module``, the detector, and what else mmdet's ``DetTTAModel`` takes.
    """

    def __init__(self, tta_cfg: ConfigType, **kwargs: Any) -> None:
        super().__init__(tta_cfg=tta_cfg, **kwargs)

    def _merge_single_sample(self, data_samples: list[DetDataSample]) -> DetDataSample:
        """Merge the views of an image.

        Args:
            data_samples (list[DetDataSample]): Predictions in pixels of the original image; the
                views of a scale follow each other, as ``TestTimeAug`` makes them when ``Resize``
                is its first list of transforms.

        Returns:
            DetDataSample: The first of them, with ``pred_instances`` of all.

        Raises:
            ValueError: The views cannot be shared out evenly among the scales.
        """
        ranges = self.tta_cfg["scale_ranges"]
        views_per_scale, rest = divmod(len(data_samples), len(ranges))
        if rest or not views_per_scale:
            raise ValueError(
                f"tta_model.tta_cfg.scale_ranges has {len(ranges)} entries for "
                f"{len(data_samples)} views of an image. Expected one per Resize of the "
                "TestTimeAug in tta_pipeline, each with the same number of flips."
            )
        kept = [
            self._within(sample.pred_instances, ranges[i // views_per_scale])
            for i, sample in enumerate(data_samples)
        ]
        boxes, scores = self.merge_aug_bboxes(
            [view.bboxes for view in kept],
            [view.scores for view in kept],
            [sample.metainfo for sample in data_samples],
        )
        boxes, scores, labels = vote_boxes(
            boxes,
            scores,
            torch.cat([view.labels for view in kept]),
            iou_threshold=self.tta_cfg["iou_threshold"],
            score_thr=self.tta_cfg["score_thr"],
        )
        most = self.tta_cfg["max_per_img"]
        merged = data_samples[0]
        merged.pred_instances = InstanceData(
            bboxes=boxes[:most], scores=scores[:most], labels=labels[:most]
        )
        return merged

    @staticmethod
    def _within(instances: InstanceData, limits: tuple[float, float | None]) -> InstanceData:
        """Keep the detections whose size lies in the range of their scale."""
        least, most = limits
        size = (instances.bboxes[:, 2:] - instances.bboxes[:, :2]).clamp(min=0).prod(-1).sqrt()
        keep = size >= least
        return instances[keep if most is None else keep & (size <= most)]
