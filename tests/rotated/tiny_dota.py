"""A data set in DOTA's format, of turned rectangles on noise."""

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("ship", "plane")


def write_dota(root: Path, *, images: int = 4, size: int = 128, seed: int = 0) -> Path:
    """Write ``root/trainval/images/*.png`` and ``root/trainval/annfiles/*.txt``; return root."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "annfiles"):
        (root / "trainval" / folder).mkdir(parents=True)
    for index in range(images):
        picture = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
        lines = []
        for label, name in enumerate(CLASSES):
            centre = rng.uniform(0.3, 0.7, 2) * size
            sides = rng.uniform((0.3, 0.12), (0.5, 0.2)) * size
            box = (tuple(centre), tuple(sides), float(rng.uniform(-90, 90)))
            corners = cv2.boxPoints(box)
            colour = (40, 40, 220) if label == 0 else (220, 40, 40)
            cv2.fillPoly(picture, [corners.round().astype(np.int32)], colour)
            lines.append(" ".join(f"{value:.1f}" for value in corners.ravel()) + f" {name} 0\n")
        cv2.imwrite(str(root / "trainval" / "images" / f"P{index}.png"), picture)
        (root / "trainval" / "annfiles" / f"P{index}.txt").write_text("".join(lines))
    return root
