"""CenterNet (triplet) as an mmdet detector, and its test over several views."""

from typing import Any

from mmdet.models.detectors import SingleStageDetector
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import ConfigType, OptConfigType
from mmengine.model import BaseTTAModel
from torch import Tensor, nn

from mmext.registry import MODELS

from .triplet_decode import TripletCandidates, detect_triplets


@MODELS.register_module()
class CenterNetTriplet(SingleStageDetector):
    """CenterNet: Keypoint Triplets for Object Detection (Duan et al., arXiv 1904.08189).

    mmdet's ``HourglassNet`` with 52 (one stack) or 104 layers (two) and
    :class:`CenterNetTripletHead`, put together as mmdet's ``SingleStageDetector``, whose arguments
    it takes. Any backbone and neck that end in one feature map will do as well.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # With one stack, mmdet's hourglass keeps a block between stacks that nothing runs: no file
        # of the authors has it, and DistributedDataParallel would wait for its gradient.
        if getattr(self.backbone, "num_stacks", None) == 1:
            self.backbone.inters = nn.Identity()

    def candidates(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> list[TripletCandidates]:
        """Corner pairs and centres of each image, in pixels of the original image.

        Args:
            batch_inputs (Tensor): (B, 3, H, W) preprocessed images.
            batch_data_samples (list[DetDataSample]): Their meta information.

        Returns:
            list[TripletCandidates]: One per image.
        """
        metas = [sample.metainfo for sample in batch_data_samples]
        return self.bbox_head.candidates(self.extract_feat(batch_inputs), metas)


@MODELS.register_module()
class CenterNetTripletTTA(BaseTTAModel):
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

    def __init__(
        self,
        module: ConfigType | nn.Module,
        tta_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        cfg = {**self.module.bbox_head.test_cfg, **(tta_cfg or {})}
        self.settings = {key: cfg[key] for key in ("center_check", "nms", "max_per_img")}

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Detect in the views that ``mmcv.transforms.TestTimeAug`` made.

        Args:
            data (dict): ``inputs`` and ``data_samples``, both a list over views of what the data
                preprocessor takes.

        Returns:
            list[DetDataSample]: One per image, with ``pred_instances`` in the original image.
        """
        views = []
        for inputs, samples in zip(data["inputs"], data["data_samples"], strict=True):
            batch = self.module.data_preprocessor(
                dict(inputs=inputs, data_samples=samples), training=False
            )
            candidates = self.module.candidates(batch["inputs"], batch["data_samples"])
            views.append(zip(batch["data_samples"], candidates, strict=True))
        return self.merge_preds([list(image) for image in zip(*views, strict=True)])

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
        merged = []
        for views in data_samples_list:
            distances = [abs(sample.metainfo["scale_factor"][0] - 1) for sample, _ in views]
            nearest = [distance == min(distances) for distance in distances]
            sample = views[0][0]
            sample.pred_instances = detect_triplets(
                [candidates for _, candidates in views], center_views=nearest, **self.settings
            )
            merged.append(sample)
        return merged
