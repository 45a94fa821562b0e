"""The objects of an image, as detectors of key points take them."""

from mmengine.structures import InstanceData


def usable_instances(gt_instances: InstanceData, num_classes: int) -> InstanceData:
    """Leave out the boxes without extent and check the labels.

    Args:
        gt_instances (InstanceData): ``bboxes`` (G, 4) and ``labels`` (G,).
        num_classes (int): Number of classes of the head.

    Returns:
        InstanceData: The boxes whose width and height are above zero.

    Raises:
        ValueError: A label is no class of the head.
    """
    boxes, labels = gt_instances.bboxes, gt_instances.labels
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"gt_instances.labels holds classes {int(labels.min())} to {int(labels.max())}, but "
            f"the head has classes 0 to {num_classes - 1}: set model.bbox_head.num_classes to the "
            "number of classes in the data set's metainfo."
        )
    keep = (boxes[:, 2:] > boxes[:, :2]).all(-1)
    return InstanceData(bboxes=boxes[keep], labels=labels[keep])
