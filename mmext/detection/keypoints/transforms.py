"""Image transforms of the hourglass detectors (CornerNet and its descendants)."""

import random
from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import RandomCenterCropPad
from mmdet.structures.bbox import BaseBoxes

from mmext.registry import TRANSFORMS

# Principal components of the colours of ImageNet, in the order of the official code.
_EIGENVALUES = (0.2141788, 0.01817699, 0.00341571)
_EIGENVECTORS = (
    (-0.58752847, -0.69563484, 0.41340352),
    (-0.5832747, 0.00994535, -0.81221408),
    (-0.56089297, 0.71832671, 0.41158938),
)


@TRANSFORMS.register_module()
class KeypointCropPad(RandomCenterCropPad):
    """mmdet's ``RandomCenterCropPad`` for training, keeping boxes as the official code does.

    Every box that overlaps the crop is clipped and kept, where mmdet keeps those whose centre is in
    it: with its corners a box also loses its centre, but both exist for what is left of it. The
    padding is black (mmdet's takes the mean colour). A crop without boxes is drawn again, as in
    mmdet; the official code goes on to another image.

    Args:
        crop_size (Sequence[int]): Width and height of the crop at ratio 1.
        ratios (Sequence[float]): Factors on the crop size, one of which is drawn.
        border (int): Distance of the crop's centre from the edge of the image, less for small ones.
    """

    def __init__(
        self,
        crop_size: Sequence[int] = (511, 511),
        ratios: Sequence[float] = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3),
        border: int = 128,
    ) -> None:
        super().__init__(
            crop_size=tuple(crop_size),
            ratios=tuple(ratios),
            border=border,
            mean=(0, 0, 0),
            std=(1, 1, 1),
            to_rgb=False,
            test_pad_mode=None,
        )

    def _filter_boxes(self, patch: Sequence[float], boxes: BaseBoxes) -> np.ndarray:
        """Tell which boxes overlap the patch (x1, y1, x2, y2)."""
        corners = boxes.tensor.numpy()
        overlap = np.minimum(corners[:, 2:], patch[2:]) - np.maximum(corners[:, :2], patch[:2])
        return (overlap > 0).all(-1)

    def transform(self, results: dict) -> dict:
        """Crop and pad.

        Args:
            results (dict): ``img`` (H, W, 3) float32, ``gt_bboxes`` and, if there are any,
                ``gt_bboxes_labels`` and ``gt_ignore_flags``.

        Returns:
            dict: The same with the crop.
        """
        height, width = results["img"].shape[:2]
        # Boxes outside the image are in no crop; if there were no others the search had no end.
        inside = self._filter_boxes((0, 0, width, height), results["gt_bboxes"])
        for key in ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags"):
            if key in results:
                results[key] = results[key][inside]
        return super().transform(results)


@TRANSFORMS.register_module()
class ColorJitterLighting(BaseTransform):
    """Jitter of brightness, contrast and saturation, and of the light along principal colours.

    The augmentation of the official code of CornerNet, CenterNet and CPN: in random order a factor
    ``1 + u`` with u uniform in ``[-jitter, jitter]`` on the image (brightness), on its difference
    from its mean grey (contrast) and on its difference from its own grey (saturation); then
    ``V (a * lambda)`` is added, with the eigenvectors V and eigenvalues lambda of the colours of
    ImageNet and a drawn from N(0, lighting^2). mmdet's ``PhotoMetricDistortion`` is SSD's, with a
    shift of hue and without the light.

    Args:
        jitter (float): Largest change of each factor.
        lighting (float): Standard deviation of the light.
    """

    def __init__(self, jitter: float = 0.4, lighting: float = 0.1) -> None:
        self.jitter = jitter
        self.lighting = lighting

    def transform(self, results: dict) -> dict:
        """Change the colours.

        Args:
            results (dict): ``img`` (H, W, 3) BGR, 0 to 255.

        Returns:
            dict: The same with a float32 image, which may exceed 0 to 255 as in the official code.
        """
        image = results["img"].astype(np.float32)
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
        mean = grey.mean()
        kinds = ["brightness", "contrast", "saturation"]
        random.shuffle(kinds)
        for kind in kinds:
            factor = np.float32(1 + random.uniform(-self.jitter, self.jitter))
            target = dict(brightness=0, contrast=mean, saturation=grey)[kind]
            image = factor * image + (1 - factor) * target
        draws = [random.gauss(0, self.lighting) for _ in range(3)]
        light = np.array(_EIGENVECTORS) @ (np.array(draws) * _EIGENVALUES)
        results["img"] = image + np.float32(255 * light)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(jitter={self.jitter}, lighting={self.lighting})"


@TRANSFORMS.register_module()
class ScaledCenterPad(BaseTransform):
    """Resize by a factor of the original size and pad with black, the image in the middle.

    How the official code of CornerNet, CenterNet and CPN prepares a test image: the size becomes
    ``int(h * scale), int(w * scale)`` (mmdet's ``Resize`` rounds), and the canvas
    ``(h | pad_bits) + pad_extra``, so that an hourglass can halve it and come back. The left border
    is ``canvas // 2 - w // 2``, the top one likewise. In a test over several views, flip behind
    this transform. Images of 8 bits stay so, and are rounded when resized, as there.

    Sets ``img``, ``img_shape`` (of the canvas), ``border`` (top, bottom, left and right edge of the
    image in the canvas) and ``scale_factor``.

    Args:
        scale (float): Factor on the original size, 1 for no change.
        pad_bits (int): Bits that are set in height and width of the canvas.
        pad_extra (int): Pixels added to that.
    """

    def __init__(self, scale: float = 1.0, pad_bits: int = 127, pad_extra: int = 0) -> None:
        self.scale = scale
        self.pad_bits = pad_bits
        self.pad_extra = pad_extra

    def transform(self, results: dict) -> dict:
        """Resize and pad.

        Args:
            results (dict): ``img`` (H, W, 3).

        Returns:
            dict: See the class.
        """
        image = results["img"]
        size = [int(side * self.scale) for side in image.shape[:2]]
        if min(size) < 1:
            raise ValueError(
                f"ScaledCenterPad: an image of {image.shape[:2]} pixels has no extent at scale "
                f"{self.scale} ({results.get('img_path', 'no path')}); take it out of the data set "
                "or raise the scale."
            )
        if self.scale != 1:
            image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        canvas = [(side | self.pad_bits) + self.pad_extra for side in size]
        first = [whole // 2 - side // 2 for whole, side in zip(canvas, size, strict=True)]
        padded = np.zeros((*canvas, *image.shape[2:]), image.dtype)
        (top, left), (bottom, right) = first, [a + b for a, b in zip(first, size, strict=True)]
        padded[top:bottom, left:right] = image
        results["img"] = padded
        results["img_shape"] = tuple(canvas)
        results["border"] = (top, bottom, left, right)
        results["scale_factor"] = (self.scale, self.scale)
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(scale={self.scale}, pad_bits={self.pad_bits}, "
            f"pad_extra={self.pad_extra})"
        )
