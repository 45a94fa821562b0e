"""Cutting large annotated images into patches, as DOTA's detectors are trained and tested on."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from mmengine.utils import ProgressBar

from mmext.files import replacing

from .evaluation.dota_files import read_labels
from .evaluation.patches import parse_patch_name, patch_name
from .windows import TRUNCATED, objects_in_windows, window_boxes

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True, kw_only=True)
class SplitRecipe:
    """How images are cut.

    Attributes:
        sizes: Sides of the windows in pixels.
        gaps: Overlap of neighbouring windows, one per size.
        min_filled: See :func:`window_boxes`.
        min_inside: See :func:`objects_in_windows`.
        padding: BGR of what lies outside the image.
        keep_empty: Whether windows without objects are written too.
    """

    sizes: tuple[int, ...] = (1024,)
    gaps: tuple[int, ...] = (200,)
    min_filled: float = 0.6
    min_inside: float = 0.7
    padding: tuple[int, int, int] = (104, 116, 124)
    keep_empty: bool = True

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.gaps):
            raise ValueError(f"{len(self.sizes)} sizes and {len(self.gaps)} gaps: expected pairs")
        for size, gap in zip(self.sizes, self.gaps, strict=True):
            if not 0 <= gap < size:
                raise ValueError(f"gap {gap} of window {size}: expected 0 <= gap < window")
        if len(set(self.sizes)) != len(self.sizes):
            raise ValueError(f"sizes {self.sizes}: each once; patches are named after them")


def split_recipe(size: int, gap: int, rates: Sequence[float], **options: bool) -> SplitRecipe:
    """Return the recipe of a multi-scale split: windows and gaps divided by each rate.

    The rates change the windows, not the images: a window of 2048 px (rate 0.5) is scaled to the
    network's size by the pipeline.

    Args:
        size: Window at rate 1.
        gap: Overlap at rate 1.
        rates: Such as 0.5, 1, 1.5.
        **options: Other fields of :class:`SplitRecipe`.
    """
    if not rates or min(rates) <= 0:
        raise ValueError(f"rates {list(rates)}: expected one or more positive numbers")
    return SplitRecipe(
        sizes=tuple(int(size / rate) for rate in rates),
        gaps=tuple(int(gap / rate) for rate in rates),
        **options,
    )


@dataclass(frozen=True)
class _Job:
    image: Path
    labels: Path | None
    out: Path
    recipe: SplitRecipe


def split_dataset(
    image_folders: Sequence[Path],
    label_folders: Sequence[Path] | None,
    out: Path,
    recipe: SplitRecipe,
    *,
    workers: int = 1,
) -> dict[str, int]:
    """Cut all images of some folders, into ``out/images`` and ``out/annfiles``.

    The work goes on in ``<out>.partial`` until everything is there; a run that was stopped goes on
    where it was, and a finished one returns at once.

    Args:
        image_folders: Folders of images, such as those of train and val.
        label_folders: A folder of txt files for each, or None (test images).
        out: Folder to write.
        recipe: How to cut.
        workers: Number of processes.

    Returns:
        Counts: ``images``, ``patches``, ``empty`` (patches without objects, written or not),
        ``objects``, ``truncated``.

    Raises:
        FileNotFoundError: A folder does not exist or has no images, or a label file is missing.
        FileExistsError: ``out`` holds something else, or a split of another recipe.
        ValueError: An image or label line that cannot be used; the message names the file.
    """
    out = Path(out)
    jobs = _list_jobs(image_folders, label_folders, out.with_name(f"{out.name}.partial"), recipe)
    manifest = json.loads(
        json.dumps(dict(recipe=asdict(recipe), images=[job.image.stem for job in jobs]))
    )
    if out.exists():
        return _finished(out, manifest)
    partial = jobs[0].out
    _open_partial(partial, manifest)
    todo = [job for job in jobs if not _note(job).is_file()]
    if len(todo) < len(jobs):
        print(f"going on: {len(jobs) - len(todo)} of {len(jobs)} images are done")
    bar = ProgressBar(len(todo))
    for _ in _run(todo, workers):
        bar.update()
    print()
    counts = dict(images=len(jobs), patches=0, empty=0, objects=0, truncated=0)
    for job in jobs:
        for name, value in json.loads(_note(job).read_text()).items():
            counts[name] += value
    _write_json(partial / "split.json", dict(manifest, counts=counts))
    shutil.rmtree(partial / "done")
    (partial / "recipe.json").unlink()
    os.replace(partial, out)
    return counts


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[None]:
    if workers <= 1:
        yield from map(_split_image, jobs)
        return
    # Not forked: OpenCV's and torch's threads do not survive that.
    with get_context("spawn").Pool(workers, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.imap_unordered(_split_image, jobs)


def _list_jobs(
    image_folders: Sequence[Path],
    label_folders: Sequence[Path] | None,
    out: Path,
    recipe: SplitRecipe,
) -> list[_Job]:
    if label_folders is not None and len(label_folders) != len(image_folders):
        raise ValueError(
            f"{len(image_folders)} image folders and {len(label_folders)} label folders: expected "
            "one for each, in the same order"
        )
    jobs: dict[str, _Job] = {}
    for index, folder in enumerate(map(Path, image_folders)):
        if not folder.is_dir():
            raise FileNotFoundError(f"image folder {str(folder)!r} does not exist")
        images = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not images:
            raise FileNotFoundError(
                f"image folder {str(folder)!r} has no images ({', '.join(SUFFIXES)})"
            )
        for image in images:
            if image.stem in jobs:
                raise ValueError(
                    f"{image} and {jobs[image.stem].image} have the same name: their patches would "
                    "overwrite each other"
                )
            labels = None
            if label_folders is not None:
                labels = Path(label_folders[index]) / f"{image.stem}.txt"
                if not labels.is_file():
                    raise FileNotFoundError(
                        f"{image} has no label file {labels}. Expected one per image, empty if "
                        "there is nothing in it"
                    )
            jobs[image.stem] = _Job(image, labels, out, recipe)
    return list(jobs.values())


def _finished(out: Path, manifest: dict) -> dict[str, int]:
    """Return the counts of a finished split of the same images and recipe."""
    file = out / "split.json"
    content = json.loads(file.read_text()) if file.is_file() else {}
    counts = content.pop("counts", None)
    if content != manifest:
        what = "another split" if counts else "something else"
        raise FileExistsError(f"{out} holds {what}: remove it or name another folder")
    return counts


def _open_partial(partial: Path, manifest: dict) -> None:
    """Make the folder of unfinished work, or check that what is there can go on."""
    file = partial / "recipe.json"
    if file.is_file() and json.loads(file.read_text()) != manifest:
        raise FileExistsError(
            f"{partial} is the beginning of another split: remove it to start over"
        )
    for name in ("images", "annfiles", "done"):
        (partial / name).mkdir(parents=True, exist_ok=True)
    _write_json(file, manifest)


def _note(job: _Job) -> Path:
    """Return the file that says an image is done."""
    return job.out / "done" / f"{job.image.stem}.json"


def _split_image(job: _Job) -> None:
    """Write the patches of one image, then the note that it is done."""
    picture = _read_image(job.image)
    height, width = picture.shape[:2]
    corners, names, difficulties = np.zeros((0, 4, 2)), [], np.zeros(0, np.int64)
    if job.labels is not None:
        corners, names, difficulties = read_labels(job.labels)
    recipe = job.recipe
    windows = window_boxes(width, height, recipe.sizes, recipe.gaps, min_filled=recipe.min_filled)
    window, item, cut = objects_in_windows(corners, windows, min_inside=recipe.min_inside)
    difficulty = np.where(cut, TRUNCATED, difficulties[item])
    bounds = np.searchsorted(window, np.arange(len(windows) + 1))
    counts = dict(patches=0, empty=0, objects=0, truncated=0)
    for index, (x, y, right, lower) in enumerate(windows.tolist()):
        rows = slice(bounds[index], bounds[index + 1])
        counts["empty"] += bounds[index] == bounds[index + 1]
        if bounds[index] == bounds[index + 1] and not recipe.keep_empty:
            continue
        name = patch_name(job.image.stem, right - x, x, y)
        local = (corners[item[rows]] - [x, y]).round(6).reshape(-1, 8).tolist()
        lines = [
            f"{' '.join(map(repr, box))} {names[i]} {flag}\n"
            for box, i, flag in zip(local, item[rows], difficulty[rows], strict=True)
        ]
        (job.out / "annfiles" / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
        patch = np.full((lower - y, right - x, 3), recipe.padding, dtype=np.uint8)
        part = picture[y:lower, x:right]
        patch[: part.shape[0], : part.shape[1]] = part
        file = job.out / "images" / f"{name}.png"
        if not cv2.imwrite(str(file), patch):
            raise OSError(f"could not write {file}")
        counts["patches"] += 1
        counts["objects"] += len(lines)
        counts["truncated"] += int(cut[rows].sum())
    _write_json(_note(job), {key: int(value) for key, value in counts.items()})


def _read_image(path: Path) -> np.ndarray:
    """Return an image as (H, W, 3) uint8 BGR; grey becomes three channels, alpha is dropped."""
    if parse_patch_name(path.stem)[0] != path.stem:
        raise ValueError(f"{path} is named like a patch: split the whole images")
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise ValueError(f"{path} is no readable image: copy or download it again")
    if picture.dtype != np.uint8:
        raise ValueError(
            f"{path} has {picture.dtype} pixels: expected 8 bits per channel. Scale its values to "
            "0 to 255 first; which range is right depends on the sensor"
        )
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    if picture.shape[2] not in (3, 4):
        raise ValueError(f"{path} has {picture.shape[2]} channels: expected 1, 3 or 4")
    return picture[:, :, :3]


def _write_json(path: Path, content: dict) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2))
