"""Photographs out of the installed scikit-image package, which is never imported."""

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

INSTALL = "pip install --no-deps scikit-image==0.26.0"


def find_source() -> Path:
    """Return the folder of scikit-image's photographs, without importing the package.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    spec = importlib.util.find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec is not None and spec.origin else None
    if folder is None or not folder.is_dir():
        raise FileNotFoundError(
            "the photographs come out of the scikit-image package, which is not installed: "
            f"{INSTALL}"
        )
    return folder


def read_photos(source: Path, checksums: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Read photographs after checking them against the known checksums.

    Args:
        source: Folder of the package's data files.
        checksums: SHA-256 of each file, by its name.

    Returns:
        (H, W, 3) uint8 BGR by file name.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file differs from the one that the figures in the docs were measured with.
    """
    photos = {}
    for name, expected in checksums.items():
        path = source / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing from the scikit-image package: {INSTALL}")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(
                f"{path} is not the file of scikit-image 0.26.0: its SHA-256 is {found}, expected "
                f"{expected}. Reinstall it: {INSTALL} --force-reinstall"
            )
        photos[name] = cv2.imread(str(path))
    return photos
