"""Data sets of degraded images, with their targets or without."""

import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.dataset import BaseDataset

from mmext.registry import DATASETS

from .image_io import IMAGE_SUFFIXES

PREFIXES = ("img", "gt", "view")


def split_suffix(name: str) -> tuple[str, str]:
    """Return a name without its image suffix, and the suffix (empty if it has none)."""
    stem, suffix = os.path.splitext(name)
    return (stem, suffix) if suffix.lower() in IMAGE_SUFFIXES else (name, "")


def apply_template(template: str, stem: str, suffix: str) -> str:
    """Return a file name: ``template`` around ``stem``, with ``suffix`` unless it has its own."""
    folder, name = os.path.split(stem)
    name = template.format(name)
    return os.path.join(folder, name if split_suffix(name)[1] else name + suffix)


def strip_template(template: str, name: str) -> tuple[str, str] | None:
    """Return stem and suffix such that :func:`apply_template` gives ``name``; None if none does."""
    folder, base = os.path.split(name)
    before, after = template.split("{}")
    stem, suffix = split_suffix(base)
    body = base if split_suffix(after)[1] else stem
    if not (body.startswith(before) and body.endswith(after)) or len(body) < len(before + after):
        return None
    return os.path.join(folder, body[len(before) : len(body) - len(after)]), suffix


def is_lmdb(folder: str) -> bool:
    """Tell whether a prefix names an LMDB rather than a folder of files."""
    return folder.rstrip("/").endswith(".lmdb")


def lmdb_keys(folder: str) -> list[str]:
    """Return the keys of an LMDB.

    Raises:
        ImportError: The lmdb package is missing.
    """
    try:
        import lmdb
    except ImportError as error:
        raise ImportError(f"{folder} is an LMDB; reading it needs `pip install lmdb`") from error
    with (
        lmdb.open(folder, readonly=True, lock=False) as database,
        database.begin() as transaction,
        transaction.cursor() as cursor,
    ):
        return [key.decode("ascii") for key in cursor.iternext(values=False)]


def list_images(folder: str) -> list[str]:
    """Return the images below a folder, or the keys of an LMDB, sorted.

    Returns:
        Names relative to ``folder``; those that begin with a dot are left out.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{folder} does not exist. Expected a folder with images; prepare the data set, or "
            "correct data_root and data_prefix."
        )
    if is_lmdb(folder):
        return sorted(lmdb_keys(folder))
    return sorted(
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


@DATASETS.register_module()
class UnpairedImageDataset(BaseDataset):
    """Degraded images without targets, to be restored.

    Args:
        data_root: Folder that ``data_prefix`` and ``ann_file`` are relative to.
        data_prefix: ``img``: folder of the images, or an LMDB (a folder whose name ends with
            ``.lmdb``); ``view``: folder of a second view, appended to the channels of the input.
        ann_file: List of the images to take, a name per line, relative to ``data_prefix``, with or
            without suffix; lines that begin with ``#`` are left out. Empty: all images below
            ``data_prefix['img']``.
        filename_tmpl: For ``img`` and ``view``, how a file name is made of the name in the list:
            ``'{}_noisy'``, ``'{}.jpg'``. Without a list, files of other names are left out.
        **kwargs: As for :class:`mmengine.dataset.BaseDataset`.
    """

    def __init__(
        self,
        *,
        data_root: str = "",
        data_prefix: dict[str, str] = dict(img=""),
        ann_file: str = "",
        filename_tmpl: dict[str, str] = {},
        **kwargs: object,
    ) -> None:
        for key, template in filename_tmpl.items():
            if key not in PREFIXES or template.count("{}") != 1:
                raise ValueError(
                    f"{type(self).__name__}.filename_tmpl has {key!r}: {template!r}. Expected keys "
                    f"among {PREFIXES} and templates with one '{{}}', such as '{{}}_noisy'."
                )
        self.filename_tmpl = filename_tmpl
        super().__init__(
            ann_file=ann_file, data_root=data_root, data_prefix=dict(data_prefix), **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """Return a dict per image: ``img_path``, and ``view_paths`` where there are views.

        Raises:
            FileNotFoundError: A folder or the list does not exist.
            ValueError: No image was found.
        """
        data_list = [self._entry(stem, suffix) for stem, suffix in self._names()]
        if not data_list:
            raise ValueError(
                f"no image found: {self.ann_file or self.data_prefix['img']} names none that fits "
                f"{self._template('img')!r}. Check data_prefix, ann_file and filename_tmpl."
            )
        return data_list

    def _template(self, key: str) -> str:
        return self.filename_tmpl.get(key, "{}")

    def _names(self) -> Iterator[tuple[str, str]]:
        """Yield stem and suffix of each image."""
        if not self.ann_file:
            for name in list_images(self.data_prefix["img"]):
                parts = strip_template(self._template("img"), name)
                if parts is not None:
                    yield parts
            return
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f"{self.ann_file} does not exist. Expected a text file with a name per line; "
                "correct data_root or ann_file, or leave ann_file out to take all images."
            )
        for line in Path(self.ann_file).read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                yield split_suffix(line.strip())

    def _locate(self, key: str, stem: str, suffix: str) -> tuple[str, dict | None]:
        """Return where an image is: a path, or a key and the arguments of its LMDB."""
        name = apply_template(self._template(key), stem, suffix)
        folder = self.data_prefix[key]
        if is_lmdb(folder):
            return name, dict(backend="lmdb", db_path=folder)
        return os.path.join(folder, name), None

    def _entry(self, stem: str, suffix: str) -> dict:
        path, backend = self._locate("img", stem, suffix)
        entry = dict(img_path=path, img_backend_args=backend)
        if "view" in self.data_prefix:
            path, backend = self._locate("view", stem, suffix)
            entry.update(view_paths=[path], view_backend_args=[backend])
        return entry


@DATASETS.register_module()
class PairedImageDataset(UnpairedImageDataset):
    """Degraded images and their targets, as two folders, two LMDBs, or one folder of two names.

    .. code-block:: python

        dict(type='mmext.PairedImageDataset', data_root='data/mine',
             data_prefix=dict(img='noisy', gt='clean'), pipeline=[...])
        # a/1_noisy.png and a/1_clean.png in one folder:
        dict(..., data_prefix=dict(img='', gt=''),
             filename_tmpl=dict(img='{}_noisy', gt='{}_clean'))

    Args:
        data_prefix: As for :class:`UnpairedImageDataset`, and ``gt``: folder of the targets.
        **kwargs: As for :class:`UnpairedImageDataset`; ``filename_tmpl`` may also have ``gt``.
    """

    def __init__(
        self,
        *,
        data_prefix: dict[str, str] = dict(img="input", gt="groundtruth"),
        **kwargs: object,
    ) -> None:
        if "gt" not in data_prefix:
            raise ValueError(
                f"PairedImageDataset.data_prefix is {dict(data_prefix)}. Expected also 'gt', the "
                "folder of the targets; without targets use UnpairedImageDataset."
            )
        super().__init__(data_prefix=data_prefix, **kwargs)

    def _entry(self, stem: str, suffix: str) -> dict:
        path, backend = self._locate("gt", stem, suffix)
        return super()._entry(stem, suffix) | dict(gt_path=path, gt_backend_args=backend)
