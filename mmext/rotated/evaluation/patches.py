"""Names of the patches that large images are cut into, and putting patch detections together."""

import re

import numpy as np

from .quads import horizontal_boxes, to_corners
from .records import Detections
from .suppression import suppress

MERGE_IOU = 0.1
"""IoU threshold of the NMS after merging: mmrotate's, and the devkit's parallel script's."""
_PATCH = re.compile(r"(?P<image>.+)__(?P<window>[^_]+)__(?P<x>\d+)___(?P<y>\d+)", re.DOTALL)


def patch_name(image: str, window: int, x: int, y: int) -> str:
    """Return the name of a patch, without suffix: ``{image}__{window}__{x}___{y}``."""
    return f"{image}__{window}__{x}___{y}"


def parse_patch_name(name: str) -> tuple[str, int, int]:
    """Return image, x and y in pixels of a patch; a name of another form is a whole image's.

    Args:
        name: Such as ``P0003__1024__824___0``; the image's own name may hold ``__`` too.

    Raises:
        ValueError: The name is almost that of a patch, or the devkit's with a scale other than 1.
    """
    found = _PATCH.fullmatch(name)
    if found is None:
        if "___" in name and "__" in name.split("___", 1)[0]:
            raise ValueError(
                f"image name {name!r} looks like a patch but is none: expected "
                "<image>__<window>__<x>___<y> with whole numbers of pixels, as "
                "tools/dataset_converters/split_dota.py writes"
            )
        return name, 0, 0
    if not found["window"].isdecimal():
        raise ValueError(
            f"image name {name!r}: expected the window's width in pixels between the first two "
            f"'__', got {found['window']!r}. DOTA's devkit writes a scale there and resizes the "
            "patches; split with tools/dataset_converters/split_dota.py, which does not"
        )
    return found["image"], int(found["x"]), int(found["y"])


def merge_patches(
    detections: Detections, *, iou_threshold: float = MERGE_IOU, horizontal: bool = False
) -> Detections:
    """Move detections from patches into their images and suppress what overlapping patches double.

    Patches of different windows (multi-scale splits) and whole images may be mixed.

    Args:
        detections: Detections by patch; images not named as patches count as whole ones.
        iou_threshold: Of two boxes of one image and class with a larger IoU, the one with the
            higher score stays.
        horizontal: For Task 2: replace each box by the horizontal box around it first.

    Returns:
        Detections by image, images sorted by name.
    """
    parsed = [parse_patch_name(name) for name in detections.images]
    images = sorted({name for name, _, _ in parsed})
    index = {name: i for i, name in enumerate(images)}
    image = np.array([index[name] for name, _, _ in parsed], dtype=np.int64)[detections.image]
    offset = np.array([part[1:] for part in parsed], dtype=np.float64).reshape(-1, 2)
    corners = detections.corners + offset[detections.image][:, None]
    if horizontal:
        corners = to_corners(horizontal_boxes(corners))
    classes = detections.label.max(initial=0) + 1
    keep = suppress(
        corners,
        detections.score,
        image * classes + detections.label,
        iou_threshold,
        horizontal=horizontal,
    )
    return Detections(
        images=tuple(images),
        image=image[keep],
        label=detections.label[keep],
        corners=corners[keep],
        score=detections.score[keep],
    )
