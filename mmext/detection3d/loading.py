"""First steps of a pipeline: points, boxes, masks, and which object each point belongs to.

The entries of ``results`` that the transforms share: ``points`` (N, C) float32, the first three
columns x, y, z in metres; ``boxes`` (:class:`Boxes3D`) and ``labels`` (G,) int64;
``instance_mask`` and ``semantic_mask`` (N,) int64, where there are any; ``point_instances`` (N,)
int64. No transform changes one of these arrays in place: each puts a new one there, so that what
a data set or a cache holds stays as it was read.
"""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from mmext.ops import points_in_boxes
from mmext.registry import TRANSFORMS

from .info_files import InfoError
from .point_files import read_mask, read_points
from .structures import Boxes3D


@TRANSFORMS.register_module()
class LoadPoints(BaseTransform):
    """Read ``points``: the coordinates, with colours if asked for.

    Args:
        color_peak: Largest value of the file's colours, columns 3 to 5, which are divided by it
            (255 for ScanNet, 1 for SUN RGB-D); None leaves them out.

    Raises:
        InfoError: The file cannot be used, or has no colours.
    """

    def __init__(self, color_peak: float | None = None) -> None:
        self.color_peak = color_peak

    def transform(self, results: dict) -> dict:
        """Read the points of ``results``."""
        points = read_points(results["points_path"], results["num_features"])
        if self.color_peak is None:
            results["points"] = points[:, :3]
            return results
        if points.shape[1] < 6:
            raise InfoError(
                f"{results['points_path']} has {points.shape[1]} columns, so no colours. Expected "
                "x, y, z, r, g, b; leave LoadPoints.color_peak out."
            )
        colors = points[:, 3:6] / np.float32(self.color_peak)
        results["points"] = np.concatenate((points[:, :3], colors), axis=1)
        return results


@TRANSFORMS.register_module()
class LoadIndoorAnnotations(BaseTransform):
    """Put ``boxes`` there, and the masks of the scene if it has any.

    Args:
        with_masks: Whether to read ``instance_mask`` and ``semantic_mask``.

    Raises:
        InfoError: A mask does not fit the points.
    """

    def __init__(self, with_masks: bool = True) -> None:
        self.with_masks = with_masks

    def transform(self, results: dict) -> dict:
        """Read the annotations of ``results``."""
        results["boxes"] = Boxes3D(results["boxes"])
        if self.with_masks:
            for key in ("instance_mask", "semantic_mask"):
                path = results.get(f"{key}_path")
                if path is not None:
                    results[key] = read_mask(path, len(results["points"]))
        return results


@TRANSFORMS.register_module()
class GlobalAlign(BaseTransform):
    """Move the points into the frame of the boxes, by the scene's ``axis_align_matrix``.

    ScanNet's boxes are aligned with the room, the points that mmdet3d stores are not. Where there
    is no matrix (test scans, old info files) the points stay as they are, with a warning.
    """

    def __init__(self) -> None:
        self.warned = False

    def transform(self, results: dict) -> dict:
        """Move the points of ``results``."""
        matrix = results.get("axis_align_matrix")
        if matrix is None:
            if not self.warned:
                print_log(
                    f"{results.get('scene')}: no axis_align_matrix, so the points stay in the "
                    "frame of their file (said once). ScanNet's test scans have none; else write "
                    "the info file again, or leave GlobalAlign out.",
                    logger="current",
                    level=30,
                )
                self.warned = True
            return results
        points = results["points"]
        moved = points[:, :3] @ matrix[:3, :3].T + matrix[:3, 3]
        results["points"] = np.concatenate((moved, points[:, 3:]), axis=1).astype(np.float32)
        return results


@TRANSFORMS.register_module()
class PointSegMap(BaseTransform):
    """Turn the numbers of ``semantic_mask`` into classes of the data set, -1 for all others.

    The numbers are the data set's ``semantic_ids``: for ScanNet, the 18 classes' nyu40 ids.
    """

    def transform(self, results: dict) -> dict:
        """Map the semantic mask of ``results``, if it has one."""
        mask, ids = results.get("semantic_mask"), results["semantic_ids"]
        if mask is not None:
            order = np.argsort(ids)
            place = np.searchsorted(ids[order], mask).clip(max=len(ids) - 1)
            found = order[place]
            results["semantic_mask"] = np.where(ids[found] == mask, found, -1)
        return results


def instances_from_boxes(points: np.ndarray, boxes: Boxes3D) -> np.ndarray:
    """Tell which box each point lies in, faces included.

    Args:
        points: (N, 3) in metres.
        boxes: G boxes.

    Returns:
        (N,) int64: of several boxes around a point the one with the nearest centre; -1 for none.
    """
    if not len(boxes):
        return np.full(len(points), -1, np.int64)
    cloud = torch.from_numpy(np.ascontiguousarray(points, np.float32))
    inside = points_in_boxes(cloud, boxes.tensor.float())
    distance = torch.cdist(cloud, boxes.centres.float()).masked_fill_(~inside, torch.inf)
    nearest, index = distance.min(dim=1)
    return torch.where(nearest.isinf(), -1, index).numpy()


def instances_from_masks(
    points: np.ndarray,
    instance_mask: np.ndarray,
    semantic_mask: np.ndarray | None,
    boxes: Boxes3D,
    labels: np.ndarray,
) -> np.ndarray:
    """Tell which box each point belongs to, by the instance that it is of.

    An instance belongs to the box of its class with the centre nearest to the middle of the
    instance's extent; without semantic mask, to the nearest box that has the middle in it.

    Args:
        points: (N, 3) in the frame of the boxes.
        instance_mask: (N,) numbers of instances, any but those below 1, which mean none.
        semantic_mask: (N,) classes, -1 for none; None if unknown.
        boxes: G boxes.
        labels: (G,) their classes.

    Returns:
        (N,) int64, -1 for points of no box.
    """
    found = np.full(len(points), -1, np.int64)
    numbers, which = np.unique(instance_mask, return_inverse=True)
    if not len(boxes):
        return found
    low, high = (np.full((len(numbers), 3), sign * np.inf) for sign in (1, -1))
    np.minimum.at(low, which, points)
    np.maximum.at(high, which, points)
    middle = torch.from_numpy((low + high) / 2)
    distance = torch.cdist(middle, boxes.centres.double())
    if semantic_mask is None:
        possible = points_in_boxes(middle, boxes.tensor.double())
    else:
        votes = np.zeros((len(numbers), max(labels.max(), semantic_mask.max()) + 2), np.int64)
        np.add.at(votes, (which, semantic_mask), 1)  # none, -1, is the last column
        kind = votes.argmax(axis=1)
        possible = torch.from_numpy(kind[:, None] == labels[None])
    nearest, box = distance.masked_fill_(~possible, torch.inf).min(dim=1)
    chosen = torch.where(nearest.isinf(), -1, box).numpy()
    chosen[numbers < 1] = -1
    return chosen[which]


@TRANSFORMS.register_module()
class AssignPointInstances(BaseTransform):
    """Put ``point_instances`` there: the index of the object that each point belongs to, or -1.

    From the masks where the scene has them (:func:`instances_from_masks`), else from the boxes
    (:func:`instances_from_boxes`). Comes after :class:`GlobalAlign` and :class:`PointSegMap`, and
    before anything that moves or drops points, which take ``point_instances`` along.

    The official code of Group-Free-3D matches instances to boxes after sampling, by the extent of
    the sampled points; the extent of all points, as here, is the box itself.
    """

    def transform(self, results: dict) -> dict:
        """Assign the points of ``results``."""
        xyz, boxes = results["points"][:, :3], results["boxes"]
        if results.get("instance_mask") is None:
            results["point_instances"] = instances_from_boxes(xyz, boxes)
        else:
            results["point_instances"] = instances_from_masks(
                xyz,
                results["instance_mask"],
                results.get("semantic_mask"),
                boxes,
                results["labels"],
            )
        return results
