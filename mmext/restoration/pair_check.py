"""What can be wrong with a data set of images or image pairs, found before training starts."""

import io
import os
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.fileio import get_file_backend
from PIL import Image, UnidentifiedImageError

from mmext.engine.preflight import ConfigError, walk
from mmext.registry import DATASET_CHECKS

from .datasets import list_images

# Of larger sets, as many pairs are looked into, evenly spread; each file is looked for.
MAX_OPENED_PAIRS = 2000
_EXAMPLES = 3


@DATASET_CHECKS.register_module(name="UnpairedImageDataset")
def check_image_dataset(*, cfg: Config, dataset_cfg: dict, dataset_class: type, path: str) -> None:
    """Check that the images of a data set exist, can be read, fit each other and the crop.

    Args:
        cfg: The whole config.
        dataset_cfg: The config of the data set.
        dataset_class: The class that it builds.
        path: The config key of ``dataset_cfg``, for messages.

    Raises:
        ConfigError: Names the file or config key, what was expected and how to mend it.
    """
    options = {key: value for key, value in dataset_cfg.items() if key not in ("type", "pipeline")}
    try:
        dataset = dataset_class(**options, pipeline=[], lazy_init=True)
        entries = dataset.load_data_list()
        _check_all_there(entries, path)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    crop = _crop_size(dataset_cfg.get("pipeline"))
    step = max(1, len(entries) // MAX_OPENED_PAIRS)
    for entry in entries[::step]:
        sizes = [(_label(*file), _size(*file)) for file in _files(entry)]
        (name, (width, height)), *others = sizes
        for other, size in others:
            if size != (width, height):
                raise ConfigError(
                    f"{path}: {name} is {width}x{height} pixels, {other} {size[0]}x{size[1]}. "
                    "Expected the same picture at the same size; correct or remove the pair."
                )
        if crop is not None and (height < crop[0] or width < crop[1]):
            raise ConfigError(
                f"{path}: {name} is {width}x{height} pixels, smaller than the crop of "
                f"{crop[1]}x{crop[0]}. Remove it, or lower crop_size in the pipeline."
            )


def _files(entry: dict) -> Iterator[tuple[str, dict | None]]:
    """Yield path and backend arguments of each file of a data set's entry."""
    yield entry["img_path"], entry["img_backend_args"]
    if "gt_path" in entry:
        yield entry["gt_path"], entry["gt_backend_args"]
    yield from zip(entry.get("view_paths", ()), entry.get("view_backend_args", ()), strict=True)


def _check_all_there(entries: list[dict], path: str) -> None:
    """Look for every file, reading each folder once."""
    listed: dict[str, set[str]] = {}
    missing = []
    for entry in entries:
        for name, backend in _files(entry):
            folder = backend["db_path"] if backend else os.path.dirname(name)
            if folder not in listed:
                found = list_images(folder) if backend else _file_names(folder)
                listed[folder] = set(found)
            if (name if backend else os.path.basename(name)) not in listed[folder]:
                missing.append((name, entry["img_path"]))
    if missing:
        examples = [
            name if name == image else f"{name} (the partner of {image})"
            for name, image in missing[:_EXAMPLES]
        ]
        raise ConfigError(
            f"{path}: {len(missing)} files of {len(entries)} images or pairs are missing: "
            f"{', '.join(examples)}{', ...' if len(missing) > _EXAMPLES else ''}. Expected a "
            "partner of the same name for each image; add or remove files, or correct data_prefix, "
            "ann_file or filename_tmpl."
        )


def _file_names(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _crop_size(pipeline: object) -> tuple[int, int] | None:
    """Return height and width of the first crop of a pipeline."""
    for _, node in walk(pipeline, "pipeline"):
        size = node.get("crop_size")
        if size is not None:
            return (size, size) if isinstance(size, int) else tuple(size)
    return None


def _size(name: str, backend: dict | None) -> tuple[int, int]:
    """Return width and height of an image from its header.

    Raises:
        ConfigError: It is no image.
    """
    try:
        if backend is None:
            with Image.open(name) as image:
                return image.size
        # Not mmengine's shared instance: an LMDB that is open must not be carried into workers.
        content = get_file_backend(backend_args=backend).get(name)
        with Image.open(io.BytesIO(content)) as image:
            return image.size
    except (UnidentifiedImageError, OSError) as error:
        raise ConfigError(
            f"{_label(name, backend)} is no readable image. Copy or download it again, or remove "
            "it and its partner."
        ) from error


def _label(name: str, backend: dict | None) -> str:
    return f"{name} in {backend['db_path']}" if backend else name
