"""Augmentations of scenes; points, boxes and all that is said of points stay together."""

import math
import zlib
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform

from mmext.registry import TRANSFORMS

POINT_KEYS = ("points", "point_instances", "instance_mask", "semantic_mask")


@TRANSFORMS.register_module()
class PointSample(BaseTransform):
    """Keep as many points, in random order: without replacement unless there are too few.

    Of a smaller cloud all points are kept, and some of them come again.

    Args:
        num_points: How many.
        seed: Makes the choice the same each time, for tests: it then depends on this number and
            the name of the scene. None: another choice each time.
    """

    def __init__(self, num_points: int, seed: int | None = None) -> None:
        if num_points < 1:
            raise ValueError(f"PointSample.num_points is {num_points}: expected 1 or more")
        self.num_points = num_points
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Choose points of ``results``."""
        count = len(results["points"])
        if self.seed is None:
            rng = np.random.default_rng(np.random.randint(2**31))
        else:
            scene = zlib.crc32(str(results.get("scene")).encode())
            rng = np.random.default_rng((self.seed, scene))
        kept = rng.permutation(count)[: self.num_points]
        again = rng.integers(count, size=self.num_points - len(kept))
        chosen = np.concatenate((kept, again))
        for key in POINT_KEYS:
            if results.get(key) is not None:
                results[key] = results[key][chosen]
        return results


@TRANSFORMS.register_module()
class RandomFlip3D(BaseTransform):
    """Mirror scenes: turn the sign of x, of y, or both.

    Args:
        prob_x: Probability to turn the sign of x.
        prob_y: Probability to turn the sign of y (ScanNet; SUN RGB-D has 0, for its scenes are all
            seen from one side).

    Source: official code of VoteNet and Group-Free-3D.
    """

    def __init__(self, prob_x: float = 0.5, prob_y: float = 0.5) -> None:
        self.probs = dict(x=prob_x, y=prob_y)

    def transform(self, results: dict) -> dict:
        """Mirror points and boxes of ``results``."""
        for column, (axis, prob) in enumerate(self.probs.items()):
            if np.random.random() < prob:
                signs = np.ones(results["points"].shape[1], np.float32)
                signs[column] = -1
                results["points"] = results["points"] * signs
                if "boxes" in results:
                    results["boxes"] = results["boxes"].flip(axis)
        return results


@TRANSFORMS.register_module()
class GlobalRotScale(BaseTransform):
    """Rotate scenes about the z axis and scale them.

    Args:
        rot_range: Least and largest angle in radians. ScanNet: 5 degrees each way, SUN RGB-D: 30.
        scale_range: Least and largest factor. SUN RGB-D: 0.85 to 1.15.
        axis_aligned: Replace each rotated box by its axis-aligned hull, which is larger, as
            ScanNet's recipe does: its boxes have no yaw.

    Source: official code of VoteNet and Group-Free-3D.
    """

    def __init__(
        self,
        rot_range: Sequence[float] = (-math.pi / 36, math.pi / 36),
        scale_range: Sequence[float] = (1.0, 1.0),
        axis_aligned: bool = False,
    ) -> None:
        for name, (low, high) in (("rot_range", rot_range), ("scale_range", scale_range)):
            if low > high:
                raise ValueError(
                    f"GlobalRotScale.{name} is {low} to {high}: expected the lesser one first"
                )
        self.rot_range = rot_range
        self.scale_range = scale_range
        self.axis_aligned = axis_aligned

    def transform(self, results: dict) -> dict:
        """Rotate and scale points and boxes of ``results``."""
        angle, factor = np.random.uniform(*self.rot_range), np.random.uniform(*self.scale_range)
        points = results["points"].copy()
        x, y = results["points"][:, 0], results["points"][:, 1]
        points[:, 0] = math.cos(angle) * x - math.sin(angle) * y
        points[:, 1] = math.sin(angle) * x + math.cos(angle) * y
        points[:, :3] *= factor
        results["points"] = points
        if "boxes" in results:
            boxes = results["boxes"].rotate(angle).scale(factor)
            results["boxes"] = boxes.hulls if self.axis_aligned else boxes
        return results


@TRANSFORMS.register_module()
class AppendHeight(BaseTransform):
    """Append the height above the floor to the features of the points.

    The floor is at the 0.99th percentile of z (not the 99th), as in VoteNet. Comes after the
    augmentations and before :class:`PointSample`.
    """

    def transform(self, results: dict) -> dict:
        """Append a column to the points of ``results``."""
        points = results["points"]
        height = points[:, 2:3] - np.percentile(points[:, 2], 0.99).astype(np.float32)
        results["points"] = np.concatenate((points, height), axis=1)
        return results
