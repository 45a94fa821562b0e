"""DOTA's files: label txt files, and the zips of class files that the evaluation server takes."""

import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmext.files import replacing

from .quads import horizontal_boxes, to_corners
from .records import Detections, GroundTruth, join_ground_truth

_HEADERS = ("imagesource", "gsd", "acquisition dates")
_COORDINATES = {1: 8, 2: 4}


def read_labels(path: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Read a label file: ``x1 y1 x2 y2 x3 y3 x4 y4 class [difficult]`` per line.

    Args:
        path: The file; header lines (``imagesource:``, ``gsd:``) and empty lines are passed over.

    Returns:
        (N, 4, 2) corners in pixels, N class names, (N,) difficulties: 0 easy, 1 difficult, 2 cut by
        the border of a patch.

    Raises:
        ValueError: A malformed line; the message names file and line.
    """
    corners, names, difficulties = [], [], []
    text = Path(path).read_text(encoding="utf-8-sig")
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or line.lower().startswith(_HEADERS):
            continue
        try:
            if len(fields) not in (9, 10):
                raise ValueError(f"{len(fields)} columns")
            values = [float(field) for field in fields[:8]]
            if not all(map(math.isfinite, values)):
                raise ValueError("a coordinate that is not finite")
            difficulties.append(int(fields[9]) if len(fields) == 10 else 0)
        except ValueError as error:
            raise ValueError(
                f"{path}:{number}: expected 'x1 y1 x2 y2 x3 y3 x4 y4 class [difficult]' with "
                f"numbers in pixels and a whole difficulty, got {line!r} ({error})"
            ) from error
        corners.append(values)
        names.append(fields[8])
    return (
        np.array(corners, dtype=np.float64).reshape(-1, 4, 2),
        names,
        np.array(difficulties, dtype=np.int64),
    )


def read_ground_truth(
    folder: Path, classes: Sequence[str], images: Sequence[str] | None = None
) -> GroundTruth:
    """Read the label files of a data set.

    Args:
        folder: Folder of ``<image>.txt`` files, such as DOTA's ``val/labelTxt``.
        classes: Names of the classes; labels are indices into them.
        images: Names of the images, without suffix; all files of the folder if None.

    Returns:
        All objects; those of a difficulty above 0 are difficult.

    Raises:
        FileNotFoundError: The folder, or the file of an image, does not exist.
        ValueError: A malformed line or an unknown class.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"label folder {str(folder)!r} does not exist")
    if images is None:
        images = sorted(path.stem for path in folder.glob("*.txt"))
        if not images:
            raise FileNotFoundError(f"label folder {str(folder)!r} has no .txt files")
    index = {name: i for i, name in enumerate(classes)}
    columns = []
    for image in images:
        path = folder / f"{image}.txt"
        if not path.is_file():
            raise FileNotFoundError(
                f"image {image!r} has no label file {path}. Expected one per image, empty if there "
                "is nothing in it"
            )
        corners, names, difficulties = read_labels(path)
        unknown = next((name for name in names if name not in index), None)
        if unknown is not None:
            raise ValueError(
                f"{path}: class {unknown!r} is none of the data set's: {', '.join(classes)}"
            )
        labels = np.array([index[name] for name in names], dtype=np.int64)
        columns.append((corners, labels, difficulties > 0))
    return join_ground_truth(images, *([c[i] for c in columns] for i in range(3)))


def write_task_zip(
    path: Path, detections: Detections, classes: Sequence[str], *, task: int
) -> Path:
    """Write detections as the evaluation server takes them.

    Every class has its file, also an empty one. Scores are written with all digits, so that
    detections keep their order (coordinates to 1e-4 px). The zip appears complete or not at all,
    and the same detections give the same bytes.

    Args:
        path: The zip file to write.
        detections: Detections in whole images.
        classes: Names of the classes.
        task: 1: ``image score x1 y1 ... x4 y4``; 2: ``image score xmin ymin xmax ymax``, of the
            horizontal boxes around.

    Returns:
        ``path``.

    Raises:
        ValueError: ``task`` is neither 1 nor 2, a label is no class, or an image's name has spaces.
    """
    _check_task(task)
    if len(detections) and detections.label.max() >= len(classes):
        raise ValueError(
            f"label {detections.label.max()}, but there are {len(classes)} classes: "
            f"{', '.join(classes)}"
        )
    spaced = [name for name in detections.images if len(name.split()) != 1]
    if spaced:
        raise ValueError(f"image name {spaced[0]!r}: names in DOTA's files cannot hold spaces")
    boxes = detections.corners.reshape(-1, 8)
    if task == 2:
        boxes = horizontal_boxes(detections.corners)
    order = np.lexsort((-detections.score, detections.image, detections.label))
    bounds = np.searchsorted(detections.label[order], np.arange(len(classes) + 1))
    path = Path(path)
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for label, name in enumerate(classes):
            rows = order[bounds[label] : bounds[label + 1]]
            # A fixed date: the same detections give the same file.
            entry = zipfile.ZipInfo(f"Task{task}_{name}.txt", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, "".join(_lines(detections, boxes, rows)))
    return path


def _lines(detections: Detections, boxes: np.ndarray, rows: np.ndarray) -> Iterator[str]:
    scores = detections.score[rows].astype(np.float64).tolist()
    values = boxes[rows].round(4).tolist()
    for image, score, box in zip(detections.image[rows].tolist(), scores, values, strict=True):
        yield f"{detections.images[image]} {score!r} {' '.join(map(repr, box))}\n"


def read_task_files(source: Path, classes: Sequence[str], *, task: int) -> Detections:
    """Read the class files of a zip or folder: a submission, or results by patch.

    Args:
        source: Zip file or folder with a ``Task<n>_<class>.txt`` per class.
        classes: Names of the classes.
        task: 1 or 2.

    Returns:
        The detections, images sorted by name.

    Raises:
        FileNotFoundError: ``source`` does not exist or lacks the file of a class.
        ValueError: A file of an unknown class or a malformed line; the message names it.
    """
    _check_task(task)
    contents = _read_texts(Path(source), f"Task{task}_")
    missing = [name for name in classes if name not in contents]
    if missing:
        raise FileNotFoundError(
            f"{source} lacks Task{task}_{missing[0]}.txt"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + ". Expected a file per class, empty if nothing was found: "
            + ", ".join(classes)
        )
    unknown = sorted(set(contents) - set(classes))
    if unknown:
        raise ValueError(
            f"{source}: Task{task}_{unknown[0]}.txt is of no class of the data set: "
            f"{', '.join(classes)}"
        )
    names: list[str] = []
    values, labels = [], []
    for label, name in enumerate(classes):
        where = f"{source}/Task{task}_{name}.txt"
        images, numbers = _parse_results(contents[name], where, 1 + _COORDINATES[task])
        names += images
        values.append(numbers)
        labels.append(np.full(len(images), label))
    numbers = np.concatenate(values)
    images, image = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    return Detections(
        images=tuple(images.tolist()),
        image=image.reshape(-1),
        label=np.concatenate(labels),
        corners=to_corners(numbers[:, 1:]),
        score=numbers[:, 0],
    )


def _read_texts(source: Path, prefix: str) -> dict[str, str]:
    """Return the text of every class file by class."""
    if source.is_dir():
        texts = {path.stem: path.read_text() for path in source.glob(f"{prefix}*.txt")}
    elif source.is_file() and zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            texts = {
                Path(entry).stem: archive.read(entry).decode()
                for entry in archive.namelist()
                if Path(entry).name.startswith(prefix) and entry.endswith(".txt")
            }
    else:
        raise FileNotFoundError(
            f"{source} is neither a folder nor a zip file with {prefix}<class>.txt files"
        )
    return {name.removeprefix(prefix): text for name, text in texts.items()}


def _parse_results(text: str, where: str, columns: int) -> tuple[list[str], np.ndarray]:
    """Return image names and the (N, columns) numbers of a class file's lines."""
    rows = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)]
    rows = [(number, fields) for number, fields in rows if fields]
    for number, fields in rows:
        if len(fields) != columns + 1:
            raise ValueError(
                f"{where}:{number}: expected an image name, a score and {columns - 1} coordinates, "
                f"got {len(fields)} columns"
            )
    numbers = np.empty((len(rows), columns))
    for index, (number, fields) in enumerate(rows):
        try:
            numbers[index] = fields[1:]
        except ValueError as error:
            raise ValueError(
                f"{where}:{number}: expected numbers after the image name, got {' '.join(fields)!r}"
            ) from error
    bad = ~np.isfinite(numbers).all(axis=1)
    if bad.any():
        number, fields = rows[int(np.argmax(bad))]
        raise ValueError(f"{where}:{number}: expected finite numbers, got {' '.join(fields)!r}")
    return [fields[0] for _, fields in rows], numbers


def _check_task(task: int) -> None:
    if task not in _COORDINATES:
        raise ValueError(f"task is {task!r}: expected 1 (oriented boxes) or 2 (horizontal boxes)")
