"""The first stage of CPN: pairs of corners as proposals, and what they are trained as."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import BaseAssigner
from mmdet.models.task_modules.samplers import BaseSampler
from mmengine.structures import InstanceData
from torch import Tensor

from ..keypoints.corner_decode import match_corners
from ..keypoints.peaks import find_peaks


class Proposals(NamedTuple):
    """Pairs of corners of a batch, image after image.

    Attributes:
        images (Tensor): (N,) image of each.
        boxes (Tensor): (N, 4) x1, y1, x2, y2: the cells of the two corners, without offsets.
        scores (Tensor): (N,) mean score of both corners.
        corner_scores (Tensor): (N, 2) scores of the top-left and of the bottom-right corner.
        labels (Tensor): (N,) class of the corners.
    """

    images: Tensor
    boxes: Tensor
    scores: Tensor
    corner_scores: Tensor
    labels: Tensor

    def take(self, index: Tensor) -> "Proposals":
        """Choose some of them.

        Args:
            index (Tensor): (N,) mask, or indices.

        Returns:
            Proposals: Those.
        """
        return Proposals(*(part[index] for part in self))


def propose(tl_heat: Tensor, br_heat: Tensor, *, num_peaks: int = 70, kernel: int = 3) -> Proposals:
    """Pair the best corners of each image (CPN, arXiv 2007.13816, section 3.2).

    All pairs of one class whose bottom-right corner is neither left of nor above the top-left one,
    in the order of the top-left corners, then of the bottom-right ones; see :func:`match_corners`.

    Args:
        tl_heat (Tensor): (B, C, H, W) logits of top-left corners.
        br_heat (Tensor): (B, C, H, W) logits of bottom-right corners.
        num_peaks (int): Corners of each kind per image; all cells if there are fewer.
        kernel (int): Window in which a corner is the maximum.

    Returns:
        Proposals: At most num_peaks^2 per image.
    """
    peaks = dict(num_peaks=num_peaks, kernel=kernel)
    top_left = find_peaks(tl_heat.float().sigmoid(), **peaks)
    bottom_right = find_peaks(br_heat.float().sigmoid(), **peaks)
    valid, scores = match_corners(top_left, bottom_right, top_left.points, bottom_right.points)
    image, tl, br = valid.nonzero(as_tuple=True)
    boxes = torch.cat((top_left.points[image, tl], bottom_right.points[image, br]), 1)
    corner_scores = torch.stack((top_left.scores[image, tl], bottom_right.scores[image, br]), 1)
    return Proposals(
        image, boxes.to(scores), scores[image, tl, br], corner_scores, top_left.labels[image, tl]
    )


def to_rois(images: Tensor, boxes: Tensor, *, plus_one: bool) -> Tensor:
    """Boxes of cells as regions of a feature map.

    Args:
        images (Tensor): (N,) image of each.
        boxes (Tensor): (N, 4) x1, y1, x2, y2 in cells.
        plus_one (bool): Whether a box ends behind the cells of its lower right corner.

    Returns:
        Tensor: (N, 5) image, x1, y1, x2, y2.
    """
    more = boxes.new_tensor([0, 0, 1, 1]) * plus_one
    return torch.cat((images[:, None].to(boxes), boxes + more), 1)


class SampledRoIs(NamedTuple):
    """Proposals and objects that train the second stage.

    Attributes:
        rois (Tensor): (N, 5) image, x1, y1, x2, y2 in cells.
        labels (Tensor): (N,) class, the number of classes for what is no object.
        is_gt (Tensor): (N,) whether it is the box of an object itself.
    """

    rois: Tensor
    labels: Tensor
    is_gt: Tensor


def sample_rois(
    proposals: Proposals,
    gt_images: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    num_images: int,
    num_classes: int,
    assigner: BaseAssigner,
    sampler: BaseSampler,
    plus_one: bool = True,
) -> SampledRoIs:
    """Assign proposals to objects, and choose those that are trained on.

    As in the official code the objects of an image without proposals are its proposals (with
    ``add_gt_as_proposals`` they then count twice).

    Args:
        proposals (Proposals): Of the batch.
        gt_images (Tensor): (G,) image of each object.
        gt_boxes (Tensor): (G, 4) objects, in cells, whole numbers like those of the proposals.
        gt_labels (Tensor): (G,) their classes.
        num_images (int): Images in the batch.
        num_classes (int): Number of classes.
        assigner (BaseAssigner): mmdet's ``MaxIoUAssigner`` or the like.
        sampler (BaseSampler): mmdet's ``RandomSampler`` or the like.
        plus_one (bool): Whether boxes are ``x2 - x1 + 1`` wide, for the assigner and as regions.

    Returns:
        SampledRoIs: Image after image, in each positives (objects first), then negatives.
    """
    rois = to_rois(proposals.images, proposals.boxes, plus_one=plus_one)
    gt_rois = to_rois(gt_images, gt_boxes.to(rois), plus_one=plus_one)
    done: list[Sequence[Tensor]] = []
    for image in range(num_images):
        own = gt_images == image
        gt = InstanceData(bboxes=gt_rois[own, 1:], labels=gt_labels[own])
        priors = rois[proposals.images == image, 1:]
        priors = InstanceData(priors=priors if len(priors) else gt.bboxes)
        sampled = sampler.sample(assigner.assign(priors, gt), priors, gt)
        positive, negative = len(sampled.pos_priors), len(sampled.neg_priors)
        index = gt_labels.new_full((positive + negative, 1), image)
        background = gt_labels.new_full((negative,), num_classes)
        done.append(
            (
                torch.cat((index.to(rois), sampled.priors), 1),
                torch.cat((sampled.pos_gt_labels, background)),
                torch.cat((sampled.pos_is_gt.bool(), own.new_zeros(negative))),
            )
        )
    return SampledRoIs(*(torch.cat(parts) for parts in zip(*done, strict=True)))
