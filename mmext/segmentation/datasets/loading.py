"""Reading label files of any data set as classes, with complaints that name the cause."""

import io
import struct
from typing import Any

import cv2
import mmengine.fileio
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, UnidentifiedImageError

from mmext.registry import TRANSFORMS

from .class_sets import CLASS_SETS
from .label_tables import LabelTable

_PNG = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3


def decode_label_ids(content: bytes, name: str) -> np.ndarray:
    """Decode a label file without turning ids into colours or cutting them to 8 bits.

    Of palette images the indices are returned (OpenCV returns the colours), of 16-bit images with
    several channels the first channel in full depth (Pillow cuts it to 8 bits): SYNTHIA's files
    hold the class there, and the instance in the second.

    Args:
        content: The file.
        name: Its name, for messages.

    Returns:
        (H, W) uint8 or uint16.

    Raises:
        ValueError: The file is no image, or a colour image.
    """
    # Width, height, bit depth and colour type follow a PNG's signature.
    header = struct.unpack(">IIBB", content[16:26]) if content[:8] == _PNG else None
    if header is None or header[3] == _PALETTE:
        ids = _decode_with_pillow(content, name)
    else:
        ids = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if ids is None:
            raise ValueError(f"{name} is a damaged png file; copy or download it again.")
    if ids.ndim == 2:
        return ids
    if ids.dtype == np.uint16:
        return ids[..., 2]  # OpenCV's order is BGR
    if ids.shape[2] == 3 and (ids == ids[..., :1]).all():
        return ids[..., 0]  # grey, saved as colours
    raise ValueError(_colour_complaint(ids, name))


def _decode_with_pillow(content: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format == "JPEG":
                raise ValueError(
                    f"{name} is a JPEG file. JPEG changes values, so that it cannot hold labels; "
                    "expected a png file."
                )
            array = np.asarray(image)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{name} is no readable image; copy or download it again.") from error
    if array.ndim == 3:
        array = array[..., 2::-1]  # the order of OpenCV
    return array.astype(np.uint16) if array.dtype.itemsize > 1 else array.astype(np.uint8)


def _colour_complaint(bgr: np.ndarray, name: str) -> str:
    colours = np.unique(bgr[..., 2::-1].reshape(-1, 3), axis=0)
    shown = ", ".join(str(tuple(map(int, colour))) for colour in colours[:3])
    message = (
        f"{name} is a colour image with {len(colours)} colours ({shown}, ...). Expected one "
        "channel of label ids."
    )
    if len(colours) <= 256:
        for key, known in CLASS_SETS.items():
            palette = {(0, 0, 0), *known.palette}
            matching = sum(tuple(map(int, colour)) in palette for colour in colours)
            if matching > 0.5 * len(colours):
                return (
                    f"{message} These are the colours of {key!r}: a palette image that was saved "
                    "as colours, or a *_color.png meant to be looked at. Give the original label "
                    "files (with GTA5, palette images whose indices are ids)."
                )
    return f"{message} Give the files that hold ids, not pictures of them."


@TRANSFORMS.register_module()
class LoadLabelIds(BaseTransform):
    """Load a label file and map its ids to classes by the data set's table.

    Takes the place of mmseg's ``LoadAnnotations``, which cuts 16-bit files to 8 bits, takes ids
    for classes and does not notice labels of another size than the image.

    Required keys: ``seg_map_path``, ``label_table`` (of mmext's data sets), ``seg_fields``. Added:
    ``gt_seg_map``, (H, W) uint8, 255 for ignored pixels.

    Args:
        backend_args: As for mmseg's ``LoadAnnotations``.
    """

    def __init__(self, *, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Load the labels.

        Raises:
            KeyError: The data set gives no label file, or no table.
            ValueError: The file holds no label ids, unknown ones, or is of another size than the
                image.
        """
        for key in ("seg_map_path", "label_table"):
            if key not in results:
                raise KeyError(
                    f"LoadLabelIds: the data set gives no {key!r}. Expected one of mmext's "
                    "segmentation data sets with labels; others are read by mmseg's "
                    "LoadAnnotations, and targets of adaptation have no labels."
                )
        path = results["seg_map_path"]
        content = mmengine.fileio.get(path, backend_args=self.backend_args)
        table: LabelTable = results["label_table"]
        labels = table.apply(decode_label_ids(content, path), path)
        size = results.get("ori_shape", labels.shape)[:2]
        if labels.shape != tuple(size):
            raise ValueError(
                f"{path} is {labels.shape[1]}x{labels.shape[0]} pixels, its image "
                f"{results.get('img_path')} {size[1]}x{size[0]}. Expected equal sizes; correct or "
                "remove the pair."
            )
        results["gt_seg_map"] = labels
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results
