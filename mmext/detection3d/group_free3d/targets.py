"""What seeds and candidates should predict, by the objects that their points lie on."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..structures import Det3DSample
from .coder import BoxCoder, angle_to_bin


class GroundTruth(NamedTuple):
    """Objects of a batch, filled up to as many as the scene with most of them has, at least one.

    Attributes:
        boxes: (B, G, 7) centre, size in metres and yaw in radians.
        labels: (B, G) classes.
        valid: (B, G), which of them are objects.
        instances: (B, N), which object each input point lies on, -1: none.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor
    instances: Tensor


class Targets(NamedTuple):
    """Targets of candidates.

    Attributes:
        positive: (B, O), whether the candidate lies on an object; else the rest is of no account.
        center: (B, O, 3) in metres.
        size: (B, O, 3) in metres.
        size_residual: (B, O, 3) in units of the mean sizes; None if sizes have no class.
        heading_bin: (B, O).
        heading_residual: (B, O) in units of half a bin.
        labels: (B, O).
    """

    positive: Tensor
    center: Tensor
    size: Tensor
    size_residual: Tensor | None
    heading_bin: Tensor
    heading_residual: Tensor
    labels: Tensor


def collect(samples: Sequence[Det3DSample], points: Tensor) -> GroundTruth:
    """Bring the objects of a batch together.

    Args:
        samples: With ``gt_instances_3d`` and ``gt_point_instances``.
        points: (B, N, 3 + f), what the network sees of the scenes.

    Returns:
        The objects, on the device of the points.

    Raises:
        ValueError: A field is missing, or does not fit the points; the message names the scene.
    """
    for sample in samples:
        _check(sample, points.shape[1])
    count = max(1, *(len(sample.gt_instances_3d.labels_3d) for sample in samples))
    boxes = points.new_zeros(len(samples), count, 7)
    labels = torch.zeros(boxes.shape[:2], dtype=torch.long, device=points.device)
    valid = torch.zeros_like(labels, dtype=torch.bool)
    for i, sample in enumerate(samples):
        objects = sample.gt_instances_3d
        number = len(objects.labels_3d)
        boxes[i, :number] = objects.bboxes_3d.tensor.to(points)
        labels[i, :number] = objects.labels_3d.to(points.device)
        valid[i, :number] = True
    instances = torch.stack([sample.gt_point_instances for sample in samples]).to(points.device)
    return GroundTruth(boxes, labels, valid, instances.long())


def _check(sample: Det3DSample, num_points: int) -> None:
    """Raise if the labels of a scene are not what the losses need."""
    name = sample.get("sample_idx", "without sample_idx")
    for field in ("gt_instances_3d", "gt_point_instances"):
        if field not in sample:
            raise ValueError(
                f"scene {name} has no {field}, which losses need. Add LoadIndoorAnnotations and "
                "AssignPointInstances to the training pipeline."
            )
    instances, count = sample.gt_point_instances, len(sample.gt_instances_3d.labels_3d)
    if instances.shape != (num_points,):
        raise ValueError(
            f"scene {name} has gt_point_instances of shape {tuple(instances.shape)} for "
            f"{num_points} points: sample points and their labels together."
        )
    if len(instances) and not -1 <= int(instances.min()) <= int(instances.max()) < count:
        raise ValueError(
            f"scene {name} has gt_point_instances from {int(instances.min())} to "
            f"{int(instances.max())}, but {count} objects: expected -1 or an index of "
            "gt_instances_3d. Filter objects and point labels together."
        )


def seed_targets(
    seed_xyz: Tensor,
    seed_instances: Tensor,
    truth: GroundTruth,
    topk: int = 4,
    strict_topk: bool = True,
) -> Tensor:
    """Choose the seeds that stand for objects: the nearest to an object's centre of those on it.

    Distances are in sizes of the object.

    Args:
        seed_xyz: (B, S, 3) in metres.
        seed_instances: (B, S), objects that the seeds lie on, -1: none.
        truth: The objects.
        topk: Seeds per object.
        strict_topk: Whether an object with fewer seeds has fewer. The official code fills up with
            seeds of others (here with the first), which count if they lie on any object.

    Returns:
        (B, S), True for positive seeds.

    Source: Group-Free-3D, section 3.2 (KPS).
    """
    batch, num_seeds = seed_instances.shape
    number = torch.arange(truth.valid.shape[1], device=seed_xyz.device)
    own = (seed_instances[..., None] == number) & truth.valid[:, None]  # (B, S, G)
    offset = seed_xyz[:, :, None] - truth.boxes[:, None, :, :3]
    offset = offset / (truth.boxes[:, None, :, 3:6] + 1e-6)
    distance = (offset.square().sum(-1) + 1e-6).sqrt()
    distance = torch.where(own, distance, distance.new_tensor(torch.inf))
    nearest = distance.argsort(dim=1, stable=True)[:, :topk]  # (B, k, G)
    chosen = truth.valid[:, None].expand_as(nearest)
    if strict_topk:
        chosen = chosen & own.gather(1, nearest)
    votes = torch.zeros(batch, num_seeds, dtype=torch.long, device=seed_xyz.device)
    votes.scatter_add_(1, nearest.flatten(1), chosen.flatten(1).long())
    return (votes > 0) & (seed_instances >= 0)


def candidate_targets(instances: Tensor, truth: GroundTruth, coder: BoxCoder) -> Targets:
    """Give each candidate the object that its point lies on.

    Args:
        instances: (B, O), objects of the candidates' points, -1: none.
        truth: The objects.
        coder: How headings and sizes are written.

    Returns:
        Targets, arbitrary but finite where there is no object.
    """
    positive = instances >= 0
    index = instances.clamp(min=0)
    boxes = truth.boxes.gather(1, index[..., None].expand(-1, -1, 7))
    labels = truth.labels.gather(1, index)
    heading_bin, residual = angle_to_bin(-boxes[..., 6], coder.num_heading_bins)
    size = boxes[..., 3:6]
    return Targets(
        positive=positive,
        center=boxes[..., :3],
        size=size,
        size_residual=coder.encode_size(size, labels) if coder.num_sizes else None,
        heading_bin=heading_bin,
        heading_residual=residual / coder.half_bin,
        labels=labels,
    )
