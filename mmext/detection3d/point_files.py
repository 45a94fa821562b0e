"""Reading points and the masks of points."""

import os
import zipfile

import numpy as np

from .info_files import InfoError


def read_points(path: str, num_features: int) -> np.ndarray:
    """Read a cloud.

    Args:
        path: ``.bin`` (float32, as mmdet3d writes it), ``.npy`` or ``.npz`` (its only array).
        num_features: Columns of a ``.bin``.

    Returns:
        (N, C) float32, C at least 3.

    Raises:
        InfoError: The file cannot be read, is empty or holds NaN or infinite coordinates.
    """
    points = _read(path, np.float32)
    if path.endswith(".bin"):
        if points.size % num_features:
            raise InfoError(
                f"{path} holds {points.size} numbers, no multiple of num_features "
                f"{num_features}. Correct num_pts_feats (num_features) in the info file."
            )
        points = points.reshape(-1, num_features)
    if points.ndim != 2 or points.shape[1] < 3:
        raise InfoError(f"{path} has shape {points.shape}. Expected (N, C), C at least 3: x, y, z.")
    if not len(points):
        raise InfoError(f"{path} has no points. Remove the scene from the data set.")
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise InfoError(
            f"{path}: {len(points) - finite.sum()} of {len(points)} points have NaN or infinite "
            "values. Expected finite numbers; remove these points (and their entries in the masks)."
        )
    return points.astype(np.float32, copy=False)


def read_mask(path: str, count: int) -> np.ndarray:
    """Read a number per point.

    Args:
        path: ``.bin`` (int64), ``.npy`` or ``.npz``.
        count: How many points the cloud has.

    Returns:
        (N,) int64.

    Raises:
        InfoError: The file cannot be read, or has another length.
    """
    mask = _read(path, np.int64).reshape(-1)
    if len(mask) != count:
        raise InfoError(
            f"{path} has {len(mask)} entries for {count} points. Expected one for each point "
            "(int64 in .bin files); write it again together with the points."
        )
    return mask.astype(np.int64, copy=False)


def _read(path: str, dtype: type) -> np.ndarray:
    if not os.path.isfile(path):
        raise InfoError(
            f"{path} does not exist. Correct data_root and data_prefix, or the paths in the info "
            "file."
        )
    try:
        if path.endswith(".bin"):
            return np.fromfile(path, dtype)
        content = np.load(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InfoError(f"{path} cannot be read ({error}). Expected .bin, .npy or .npz.") from error
    if isinstance(content, np.ndarray):
        return content
    with content:
        if len(content.files) != 1:
            raise InfoError(f"{path} holds the arrays {content.files}. Expected one.")
        return content[content.files[0]]
