"""What is known about a scene: boxes, and which object each point belongs to."""

from mmengine.structures import BaseDataElement


class Det3DSample(BaseDataElement):
    """A scene's ground truth and predictions.

    Fields, each where it is known:

    - ``gt_instances_3d``: InstanceData of G objects, ``bboxes_3d`` (:class:`Boxes3D`) and
      ``labels_3d`` (G,) int64;
    - ``gt_point_instances``: (N,) int64, the index into ``gt_instances_3d`` of each input point,
      -1 for points of none;
    - ``pred_instances_3d``: InstanceData with ``bboxes_3d``, ``labels_3d`` and ``scores_3d``.

    Metainfo: ``sample_idx`` (the scene's name) and what the transforms add.
    """
