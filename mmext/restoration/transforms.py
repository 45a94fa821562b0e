"""Transforms of image pairs: ``img`` is the degraded image, ``gt`` its target where there is one.

Both are (H, W, C) arrays in BGR order, of the dtype of their files.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.fileio import get
from mmengine.structures import BaseDataElement

from mmext.registry import TRANSFORMS

from .image_io import ImageError, decode_image, to_bgr

PAIR = ("img", "gt")


@TRANSFORMS.register_module()
class LoadImagePair(BaseTransform):
    """Read a degraded image, its target if it has one, and further views of the input.

    Reads ``img_path``, ``gt_path`` and the list ``view_paths`` with the backends in
    ``img_backend_args``, ``gt_backend_args`` and ``view_backend_args``; adds ``img``, ``gt`` and
    ``ori_shape``. Views (the second picture of a dual-pixel camera) are appended to the channels of
    ``img``. Grey images become colour images of equal channels; an opaque alpha channel is dropped.

    Raises:
        ImageError: A file is missing or unreadable, transparent, or the sizes of a pair differ.
    """

    def transform(self, results: dict) -> dict:
        """Read the images of ``results``."""
        image = _read(results["img_path"], results.get("img_backend_args"))
        views = [
            _read(path, args)
            for path, args in zip(
                results.get("view_paths", ()), results.get("view_backend_args", ()), strict=True
            )
        ]
        for path, view in zip(results.get("view_paths", ()), views, strict=True):
            _require_equal(view, path, image, results["img_path"])
        results["img"] = np.concatenate([image, *views], axis=2) if views else image
        results["ori_shape"] = image.shape[:2]
        if "gt_path" in results:
            results["gt"] = _read(results["gt_path"], results.get("gt_backend_args"))
            _require_equal(results["gt"], results["gt_path"], image, results["img_path"])
        return results


def _read(path: str, backend_args: dict | None) -> np.ndarray:
    try:
        content = get(path, backend_args=backend_args)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read ({error}). Expected an image file; check data_root and "
            "data_prefix of the data set."
        ) from error
    name = f"{path} in {backend_args['db_path']}" if backend_args else path
    return to_bgr(decode_image(content, name), name)


def _require_equal(image: np.ndarray, path: str, other: np.ndarray, other_path: str) -> None:
    if image.shape[:2] != other.shape[:2]:
        raise ImageError(
            f"{path} is {image.shape[1]}x{image.shape[0]} pixels, {other_path} "
            f"{other.shape[1]}x{other.shape[0]}. Expected the same picture at the same size; "
            "correct or remove the pair."
        )


class _PairedCrop(BaseTransform):
    """Cuts the same window out of both images.

    Args:
        crop_size: Side of the window in pixels, or (height, width).
    """

    def __init__(self, crop_size: int | Sequence[int]) -> None:
        size = (crop_size, crop_size) if isinstance(crop_size, int) else tuple(crop_size)
        self.crop_size = np.array(size)

    def place(self, free: np.ndarray) -> np.ndarray:
        """Return top and left of the window, each from 0 to ``free``."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        """Cut both images of ``results``."""
        free = np.array(results["img"].shape[:2]) - self.crop_size
        if (free < 0).any():
            height, width = results["img"].shape[:2]
            raise ImageError(
                f"{results.get('img_path', 'an image')} is {width}x{height} pixels, smaller than "
                f"the crop of {self.crop_size[1]}x{self.crop_size[0]}. Remove it, or lower "
                f"{type(self).__name__}.crop_size."
            )
        top, left = self.place(free)
        bottom, right = top + self.crop_size[0], left + self.crop_size[1]
        for key in PAIR:
            if key in results:
                results[key] = results[key][top:bottom, left:right]
        return results


@TRANSFORMS.register_module()
class PairedRandomCrop(_PairedCrop):
    """Cut the same window out of both images, at any place with equal probability.

    Args:
        crop_size: Side of the window in pixels, or (height, width).

    Raises:
        ImageError: An image is smaller than the window.

    The official code of Uformer never takes the last row and column; here they are as likely as
    the others.
    """

    def place(self, free: np.ndarray) -> np.ndarray:
        """Return top and left of the window, drawn between 0 and ``free``."""
        return np.array([np.random.randint(0, side + 1) for side in free])


@TRANSFORMS.register_module()
class PairedCenterCrop(_PairedCrop):
    """Cut the middle out of both images.

    Args:
        crop_size: Side of the window in pixels, or (height, width).

    Raises:
        ImageError: An image is smaller than the window.
    """

    def place(self, free: np.ndarray) -> np.ndarray:
        """Return top and left of the window."""
        return free // 2


@TRANSFORMS.register_module()
class RandomDihedral(BaseTransform):
    """Turn both images by a multiple of 90 degrees and mirror them or not: eight ways, all alike.

    Source: Uformer's official training code.
    """

    def transform(self, results: dict) -> dict:
        """Turn and mirror both images of ``results``."""
        turns, mirrored = divmod(np.random.randint(8), 2)
        for key in PAIR:
            if key in results:
                image = np.rot90(results[key], turns)
                results[key] = image[:, ::-1] if mirrored else image
        return results


@TRANSFORMS.register_module()
class RandomChannelOrder(BaseTransform):
    """Put the three colours of both images into a random order, each of the six alike.

    For small data sets, whose few colours a network otherwise learns by heart: it then shifts the
    colours of other images. Only for degradations that are the same in each channel.
    """

    def transform(self, results: dict) -> dict:
        """Reorder the channels of both images, and of further views likewise."""
        order = np.random.permutation(3)
        for key in PAIR:
            if key in results:
                views = results[key].shape[2] // 3
                channels = np.concatenate([order + 3 * view for view in range(views)])
                results[key] = results[key][..., channels]
        return results


@TRANSFORMS.register_module()
class PackRestorationInputs(BaseTransform):
    """Turn arrays into what the model takes: ``inputs``, and a data sample with ``gt_img``.

    Args:
        meta_keys: Entries of ``results`` that the data sample keeps, where there are any.
    """

    def __init__(
        self, meta_keys: Sequence[str] = ("img_path", "gt_path", "ori_shape", "sample_idx", "block")
    ) -> None:
        self.meta_keys = meta_keys

    def transform(self, results: dict) -> dict:
        """Return ``inputs``, a (C, H, W) tensor, and ``data_samples`` with a (3, H, W) ``gt_img``.

        The tensors keep dtype and channel order of the arrays.
        """
        sample = BaseDataElement(
            metainfo={key: results[key] for key in self.meta_keys if key in results}
        )
        if "gt" in results:
            sample.gt_img = _to_tensor(results["gt"])
        return dict(inputs=_to_tensor(results["img"]), data_samples=sample)


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
