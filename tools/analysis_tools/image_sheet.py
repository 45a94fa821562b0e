"""Show folders of images beside each other: noisy, restored, clean.

    python tools/restore.py CONFIG CHECKPOINT data/photos/test/noise25 work_dirs/restored
    python tools/analysis_tools/image_sheet.py data/photos/test/noise25 work_dirs/restored \
        data/photos/test/clean --titles noisy restored clean --out sheet.jpg

A column per folder, a row per file name that all folders have, the middle of each image at its own
resolution. Under all but the last column stands the PSNR of the whole image against the last.
"""

import argparse
import io
import sys
from pathlib import Path

import cv2
import matplotlib

from mmext.files import write_file

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from mmext.restoration.datasets import list_images
from mmext.restoration.image_io import PEAKS, read_image, to_bgr
from mmext.restoration.quality import psnr

DPI = 100
GAP, CAPTION = 4, 18  # pixels


def read_rgb(path: Path) -> np.ndarray:
    """Return an image as (H, W, 3) float64 RGB in [0, 1]."""
    image = to_bgr(read_image(path), str(path))
    return image[..., ::-1] / PEAKS[image.dtype]


def common_names(folders: list[Path]) -> list[str]:
    """Return the image names that all folders have.

    Raises:
        ValueError: There are none.
    """
    names = set.intersection(*(set(list_images(str(folder))) for folder in folders))
    if not names:
        raise ValueError(f"no image name is in all of {', '.join(map(str, folders))}")
    return sorted(names)


def read_row(folders: list[Path], name: str) -> list[np.ndarray]:
    """Read the images of a name.

    Raises:
        ValueError: They differ in size.
    """
    images = [read_rgb(folder / name) for folder in folders]
    if len({image.shape for image in images}) > 1:
        sizes = ", ".join(f"{image.shape[1]}x{image.shape[0]}" for image in images)
        raise ValueError(f"{name} has different sizes in the folders: {sizes}")
    return images


def middle(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the middle of an image, at most ``width`` by ``height`` pixels."""
    top, left = max(image.shape[0] - height, 0) // 2, max(image.shape[1] - width, 0) // 2
    return image[top : top + height, left : left + width]


def draw(
    rows: list[list[np.ndarray]], titles: list[str], width: int, height: int
) -> matplotlib.figure.Figure:
    """Draw rows of (H, W, 3) images, the last of which is the target of the others."""
    pixels = (len(titles) * (width + GAP) - GAP, CAPTION + len(rows) * (height + CAPTION))
    figure = plt.figure(figsize=(pixels[0] / DPI, pixels[1] / DPI), dpi=DPI)

    def write(x: float, y: float, text: str, **style: object) -> None:
        """Write ``text`` with its middle at a pixel counted from the top left corner."""
        figure.text(x / pixels[0], 1 - y / pixels[1], text, ha="center", va="center", **style)

    for column, title in enumerate(titles):
        write(column * (width + GAP) + width / 2, CAPTION / 2, title, fontsize=9, weight="bold")
    for row, images in enumerate(rows):
        top = CAPTION + row * (height + CAPTION)
        for column, image in enumerate(images):
            left = column * (width + GAP)
            part = middle(image, width, height)
            box = (
                left / pixels[0],
                1 - (top + part.shape[0]) / pixels[1],
                part.shape[1] / pixels[0],
                part.shape[0] / pixels[1],
            )
            axes = figure.add_axes(box)
            axes.imshow(part, interpolation="none")
            axes.axis("off")
            if column < len(images) - 1:
                caption = f"{psnr(image, images[-1]):.2f} dB"
                write(left + width / 2, top + height + CAPTION / 2, caption, fontsize=8)
    return figure


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders of images, the target last")
    parser.add_argument("--titles", nargs="+", help="of the columns; default: the folders' names")
    parser.add_argument("--size", nargs=2, type=int, default=(300, 200), help="width and height")
    parser.add_argument("--out", type=Path, required=True, help="image file to write")
    args = parser.parse_args()
    args.titles = args.titles or [folder.name for folder in args.folders]
    if len(args.titles) != len(args.folders):
        parser.error(f"{len(args.titles)} titles for {len(args.folders)} folders")
    return args


def main() -> None:
    """Read the folders and write the sheet."""
    args = parse_args()
    try:
        rows = [read_row(args.folders, name) for name in common_names(args.folders)]
    except (OSError, ValueError) as error:
        sys.exit(f"image_sheet: {error}")
    figure = draw(rows, args.titles, *args.size)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    plt.close(figure)
    picture = cv2.imdecode(np.frombuffer(content.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if args.out.suffix in (".jpg", ".jpeg") else []
    write_file(args.out, cv2.imencode(args.out.suffix, picture, options)[1].tobytes())
    print(f"{len(rows)} rows in {args.out}")


if __name__ == "__main__":
    main()
