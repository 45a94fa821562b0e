"""CenterNet (triplet) as an mmdet detector, and its test over several views."""

from mmdet.structures import DetDataSample

from mmext.registry import MODELS

from ..keypoints.detector import CornerDetector, PooledViewsTTA
from .triplet_decode import TripletCandidates, detect_triplets


@MODELS.register_module()
class CenterNetTriplet(CornerDetector):
    """CenterNet: Keypoint Triplets for Object Detection (Duan et al., arXiv 1904.08189).

    mmdet's ``HourglassNet`` with 52 (one stack) or 104 layers (two) and
    :class:`CenterNetTripletHead`, put together as mmdet's ``SingleStageDetector``, whose arguments
    it takes. Any backbone and neck that end in one feature map will do as well.
    """


@MODELS.register_module()
class CenterNetTripletTTA(PooledViewsTTA):
    """Test CenterNet on several views of an image: flipped, or in several sizes.

    The official test always adds the flipped image. Pairs and centres of all views are pooled
    before the centre check, so a pair may be kept by a centre that another view saw. Centres come
    from the views of the scale nearest to 1 (in the official code exactly 1), corners from all.

    Args:
        module (dict | nn.Module): A :class:`CenterNetTriplet`.
        tta_cfg (dict | None): Replaces entries of the head's ``test_cfg``; the official
            multi-scale test merges corners, ``dict(nms=dict(merge_exponent=10))``.
        data_preprocessor (dict | None): As for mmengine's ``BaseTTAModel``.
    """

    def merge_preds(
        self, data_samples_list: list[list[tuple[DetDataSample, TripletCandidates]]]
    ) -> list[DetDataSample]:
        """Merge the views of each image.

        Args:
            data_samples_list (list[list[tuple[DetDataSample, TripletCandidates]]]): For each image
                its views, each with its candidates in pixels of the original image.

        Returns:
            list[DetDataSample]: The first view of each image, with ``pred_instances``.
        """
        settings = {key: self.settings[key] for key in ("center_check", "nms", "max_per_img")}
        merged = []
        for views in data_samples_list:
            distances = [abs(sample.metainfo["scale_factor"][0] - 1) for sample, _ in views]
            nearest = [distance == min(distances) for distance in distances]
            sample = views[0][0]
            sample.pred_instances = detect_triplets(
                [candidates for _, candidates in views], center_views=nearest, **settings
            )
            merged.append(sample)
        return merged
