"""Text files of detections, one per scene.

``text``: lines ``class score x y z l w h yaw``: the name of the class, gravity centre and full
sizes in metres, yaw in radians counter-clockwise about +z; by falling score.

``votenet``: ``<scene>_pred_map_cls.txt`` as the official code of VoteNet and Group-Free-3D dumps
it: ``class corners score``, the class by number, the eight corners as 24 numbers with commas
between, in the upright camera frame (x, -z, y).

There is no test server for boxes of ScanNet or SUN RGB-D; all published figures are of the
validation sets.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mmext.files import write_file

from .structures import Boxes3D, to_upright_camera

FORMATS = ("text", "votenet")


def write_scene(
    folder: Path,
    scene: str,
    boxes: Boxes3D,
    labels: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    fmt: str = "text",
) -> Path:
    """Write the detections of a scene.

    Args:
        folder: Folder to write into; made if need be.
        scene: Name of the scene, which names the file.
        boxes: N boxes.
        labels: (N,) classes.
        scores: (N,) scores.
        classes: Names of the classes.
        fmt: ``text`` or ``votenet``.

    Returns:
        The file.
    """
    order = np.argsort(-scores, kind="stable")
    if fmt == "text":
        name, numbers = f"{scene}.txt", boxes.tensor.double().numpy()
        lines = [
            f"{classes[labels[i]]} {scores[i]:.6g} " + " ".join(f"{v:.6f}" for v in numbers[i])
            for i in order
        ]
    else:
        name = f"{scene}_pred_map_cls.txt"
        corners = to_upright_camera(boxes.corners.double()).flatten(1).numpy()
        lines = [
            f"{labels[i]} {','.join(f'{v:.6f}' for v in corners[i])} {scores[i]:.6g}" for i in order
        ]
    write_file(folder / name, "".join(f"{line}\n" for line in lines))
    return folder / name


def read_scene(path: Path, classes: Sequence[str]) -> tuple[Boxes3D, np.ndarray, np.ndarray]:
    """Read a file of format ``text``.

    Args:
        path: The file.
        classes: Names of the classes.

    Returns:
        Boxes, (N,) labels and (N,) scores.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line cannot be read, or names an unknown class.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Expected a file for each scene, also empty."
        )
    boxes, labels, scores = [], [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            # From the right: names of classes may have spaces.
            name, score, *box = line.rsplit(maxsplit=8)
            if len(box) != 7:
                raise ValueError("too few numbers")
            boxes.append([float(value) for value in box])
            scores.append(float(score))
            labels.append(list(classes).index(name))
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: {line!r}. Expected 'class score x y z l w h yaw' with a "
                f"class among {list(classes)}."
            ) from error
    tensor = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 7)
    return Boxes3D(tensor), np.array(labels, np.int64), np.array(scores)
