"""What the detectors of corners share: the network around the head, tests over several views."""

from typing import Any, NamedTuple

from mmdet.models.detectors import SingleStageDetector
from mmdet.structures import DetDataSample, SampleList
from mmdet.utils import ConfigType, OptConfigType
from mmengine.model import BaseTTAModel
from torch import Tensor, nn


class CornerDetector(SingleStageDetector):
    """mmdet's ``SingleStageDetector`` with a backbone that may be an hourglass.

    Its head has ``candidates(feats, batch_img_metas, rescale)``: what the head finds in each image,
    before views are merged and before suppression.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # With one stack, mmdet's hourglass keeps a block between stacks that nothing runs: no file
        # of the authors has it, and DistributedDataParallel would wait for its gradient.
        if getattr(self.backbone, "num_stacks", None) == 1:
            self.backbone.inters = nn.Identity()

    def candidates(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> list[NamedTuple]:
        """Candidates of each image, in pixels of the original image.

        Args:
            batch_inputs (Tensor): (B, 3, H, W) preprocessed images.
            batch_data_samples (list[DetDataSample]): Their meta information.

        Returns:
            list[NamedTuple]: One per image.
        """
        metas = [sample.metainfo for sample in batch_data_samples]
        return self.bbox_head.candidates(self.extract_feat(batch_inputs), metas)


class PooledViewsTTA(BaseTTAModel):
    """Test a corner detector on several views, which are pooled before suppression.

    A subclass says in :meth:`merge_preds` what becomes of the candidates of an image's views.

    Args:
        module (dict | nn.Module): A :class:`CornerDetector`.
        tta_cfg (dict | None): Replaces entries of the head's ``test_cfg``.
        data_preprocessor (dict | None): As for mmengine's ``BaseTTAModel``.
    """

    def __init__(
        self,
        module: ConfigType | nn.Module,
        tta_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        self.settings = {**self.module.bbox_head.test_cfg, **(tta_cfg or {})}

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
