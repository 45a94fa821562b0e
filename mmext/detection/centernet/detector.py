"""CenterNet++ as an mmdet detector."""

from mmdet.models.detectors import SingleStageDetector

from mmext.registry import MODELS


@MODELS.register_module()
class CenterNetPlusPlus(SingleStageDetector):
    """CenterNet++ for object detection (Duan et al., arXiv 2204.08394).

    Backbone, neck and one of the heads of this folder, put together as mmdet's
    ``SingleStageDetector``, whose arguments it takes.
    """
