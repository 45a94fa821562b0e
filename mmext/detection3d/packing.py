"""From the arrays of a pipeline to what models take."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import InstanceData
from torch import Tensor

from mmext.registry import MODELS, TRANSFORMS

from .structures import Det3DSample


@TRANSFORMS.register_module()
class PackIndoorInputs(BaseTransform):
    """Turn arrays into ``inputs`` and a :class:`Det3DSample`.

    Args:
        meta_keys: Entries of ``results`` that the sample keeps as metainfo, where there are any;
            ``sample_idx`` is the name of the scene.
    """

    def __init__(
        self, meta_keys: Sequence[str] = ("points_path", "axis_align_matrix", "scene_type")
    ) -> None:
        self.meta_keys = meta_keys

    def transform(self, results: dict) -> dict:
        """Return ``inputs``, ``dict(points=(N, 3 + f))``, and ``data_samples``."""
        meta = {key: results[key] for key in self.meta_keys if results.get(key) is not None}
        sample = Det3DSample(metainfo=dict(sample_idx=results.get("scene"), **meta))
        if "boxes" in results:
            sample.gt_instances_3d = InstanceData(
                bboxes_3d=results["boxes"].to(torch.float32),
                labels_3d=torch.from_numpy(np.array(results["labels"], np.int64)),
            )
        if "point_instances" in results:
            sample.gt_point_instances = torch.from_numpy(np.array(results["point_instances"]))
        points = torch.from_numpy(np.array(results["points"], np.float32))
        return dict(inputs=dict(points=points), data_samples=sample)


@MODELS.register_module()
class PointsPreprocessor(BaseDataPreprocessor):
    """Brings clouds to the device and stacks them.

    Args:
        non_blocking: As for :class:`mmengine.model.BaseDataPreprocessor`.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs``, a dict with ``points``: B tensors (N, 3 + f) or one of (B, N, 3 + f);
                or these tensors themselves. ``data_samples``: B samples, or none.
            training: Whether the batch is to be learned from.

        Returns:
            ``inputs`` (B, N, 3 + f) and ``data_samples``.

        Raises:
            ValueError: The clouds differ in shape, are empty, or hold NaN.
        """
        data = self.cast_data(data)
        points, samples = data["inputs"], data.get("data_samples")
        points = points["points"] if isinstance(points, dict) else points
        if len({tuple(cloud.shape) for cloud in points}) != 1:
            shapes = [tuple(cloud.shape) for cloud in points]
            raise ValueError(
                f"clouds of shapes {shapes} in a batch. Expected equal numbers of points and "
                "columns; add a PointSample to the pipeline."
            )
        batch = points if isinstance(points, Tensor) else torch.stack(list(points))
        if batch.dim() != 3 or batch.shape[1] == 0 or batch.shape[2] < 3:
            raise ValueError(
                f"clouds of shape {tuple(batch.shape[1:])}. Expected (N, 3 + f) with N > 0."
            )
        finite = batch.isfinite().flatten(1).all(dim=1)
        if not finite.all():
            wrong = int((~finite).nonzero()[0])
            name = samples[wrong].get("sample_idx") if samples else f"number {wrong}"
            raise ValueError(
                f"the cloud {name} of the batch has NaN or infinite values. Remove these points."
            )
        return dict(inputs=batch.float(), data_samples=samples)
