"""CPN as an mmdet detector, and its test over several views."""

from mmdet.structures import DetDataSample

from mmext.registry import MODELS

from ..keypoints.corner_decode import CornerPairs
from ..keypoints.detector import CornerDetector, PooledViewsTTA


@MODELS.register_module()
class CPN(CornerDetector):
    """Corner Proposal Network, an anchor-free, two-stage detector (Duan et al., arXiv 2007.13816).

    mmdet's ``HourglassNet`` with 52 (one stack) or 104 layers (two), or :class:`DLA` with
    :class:`DLAUp`, and :class:`CPNHead`, put together as mmdet's ``SingleStageDetector``, whose
    arguments it takes. Any backbone and neck that end in one feature map will do as well.
    """


@MODELS.register_module()
class CPNTTA(PooledViewsTTA):
    """Test CPN on several views of an image: flipped, or in several sizes.

    The official test always adds the flipped image, and multiplies the score of a detection by 1 +
    its overlap with its partner in the mirrored views (of all sizes).

    Args:
        module (dict | nn.Module): A :class:`CPN`.
        tta_cfg (dict | None): Replaces entries of the head's ``test_cfg``, for example
            ``dict(flip_consistency=None)``.
        data_preprocessor (dict | None): As for mmengine's ``BaseTTAModel``.
    """

    def merge_preds(
        self, data_samples_list: list[list[tuple[DetDataSample, CornerPairs]]]
    ) -> list[DetDataSample]:
        """Merge the views of each image.

        Args:
            data_samples_list (list[list[tuple[DetDataSample, CornerPairs]]]): For each image its
                views, each with its detections in pixels of the original image.

        Returns:
            list[DetDataSample]: The first view of each image, with ``pred_instances``.
        """
        merged = []
        for views in data_samples_list:
            flipped = [bool(sample.metainfo.get("flip", False)) for sample, _ in views]
            sample = views[0][0]
            sample.pred_instances = self.module.bbox_head.detect(
                [pairs for _, pairs in views], flipped, self.settings
            )
            merged.append(sample)
        return merged
