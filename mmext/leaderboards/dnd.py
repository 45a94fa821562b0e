"""DND: its crops, and the files that its server takes.

50 photographs with 20 boxes of 512 x 512 pixels each, in MATLAB 7.3 files (HDF5): ``info.mat`` has
the boxes, ``images_srgb/0001.mat`` and so on the photographs. The server takes a folder of 50
files. The clean images are not public.

Source: the benchmark's code (https://noise.visinf.tu-darmstadt.de/downloads/).
"""

import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric

from mmext.files import write_file
from mmext.registry import DATASETS, METRICS
from mmext.restoration.metrics import to_image

IMAGES, BOXES, SIDE = 50, 20, 512


def crop_name(image: int, box: int) -> str:
    """Return a crop's name, from indices that begin with 0: ``'0001_01'`` to ``'0050_20'``."""
    return f"{image + 1:04d}_{box + 1:02d}"


def crop_indices(path: str) -> tuple[int, int]:
    """Return image and box, from 0, of a crop's file name such as ``0001_01.png`` or ``0001_1``.

    Raises:
        ValueError: The name is another one.
    """
    found = re.fullmatch(r"(\d{4})_(\d{1,2})", Path(path).stem)
    indices = (int(found[1]) - 1, int(found[2]) - 1) if found else (-1, -1)
    if not (0 <= indices[0] < IMAGES and 0 <= indices[1] < BOXES):
        raise ValueError(
            f"{path} is no crop of DND. Expected names from 0001_01 to {IMAGES:04d}_{BOXES:02d}."
        )
    return indices


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"{path} is a MATLAB 7.3 file; reading it needs `pip install h5py`"
        ) from error
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Expected DND's info.mat and images_srgb/0001.mat to "
            f"{IMAGES:04d}.mat below data_root; get them from the benchmark's page."
        )
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is no MATLAB 7.3 file ({error}). Download it again.") from error


def read_boxes(root: str | Path) -> np.ndarray:
    """Read the boxes of all photographs.

    Args:
        root: Folder of ``info.mat``.

    Returns:
        (50, 20, 4) int64: top, left, bottom, right in pixels from 0, the last two exclusive.
    """
    with _open(Path(root) / "info.mat") as info:
        references = info["info"]["boundingboxes"][0]
        # MATLAB: 1-based and inclusive, and HDF5 shows its arrays transposed.
        boxes = np.stack([np.array(info[reference]).T for reference in references])
    if boxes.shape != (IMAGES, BOXES, 4):
        raise ValueError(
            f"{root}/info.mat has boxes of shape {boxes.shape}. Expected {(IMAGES, BOXES, 4)}; "
            "download it again."
        )
    return boxes.astype(np.int64) - [1, 1, 0, 0]


def read_image(root: str | Path, image: int) -> np.ndarray:
    """Read a photograph.

    Args:
        root: Folder of ``images_srgb``.
        image: Index from 0.

    Returns:
        (H, W, 3) float32 RGB in [0, 1].
    """
    with _open(Path(root) / "images_srgb" / f"{image + 1:04d}.mat") as content:
        return np.array(content["InoisySRGB"], dtype=np.float32).T


def write_submission(out_dir: str | Path, crops: Path) -> None:
    """Bundle denoised crops into the 50 files that the server takes.

    Args:
        out_dir: Folder to write, complete or not at all: ``0001.mat`` to ``0050.mat``.
        crops: Folder of ``0001_01.npy`` to ``0050_20.npy``, (512, 512, 3) float32 RGB in [0, 1].

    Raises:
        ValueError: A crop is missing or of another shape; nothing is written.
    """
    out_dir = Path(out_dir)
    names = [crop_name(image, box) for image, box in np.ndindex(IMAGES, BOXES)]
    missing = [name for name in names if not (crops / f"{name}.npy").is_file()]
    if missing:
        raise ValueError(
            f"{out_dir} is not written: {len(missing)} of {len(names)} crops are missing, the "
            f"first is {missing[0]}. Test on all of DND's crops."
        )
    building = out_dir.with_name(f".{out_dir.name}-building")
    shutil.rmtree(building, ignore_errors=True)
    for image in range(IMAGES):
        cells = np.empty(BOXES, dtype=object)
        for box in range(BOXES):
            cells[box] = np.load(crops / f"{crop_name(image, box)}.npy")
            if cells[box].shape != (SIDE, SIDE, 3):
                raise ValueError(
                    f"{crop_name(image, box)} is {cells[box].shape}, expected {(SIDE, SIDE, 3)}"
                )
        content = io.BytesIO()
        variables = dict(Idenoised=cells, israw=False, eval_version="1.0")
        scipy.io.savemat(content, variables, do_compression=True)
        write_file(building / f"{image + 1:04d}.mat", content.getvalue())
    if out_dir.exists():
        shutil.rmtree(out_dir)
    building.rename(out_dir)


@DATASETS.register_module()
class DNDCrops(BaseDataset):
    """The 1000 crops of DND, cut out of the published files.

    Crops that were saved as png files (``0001_01.png``) are read by
    :class:`mmext.restoration.UnpairedImageDataset` instead.

    Args:
        data_root: Folder of ``info.mat`` and ``images_srgb``.
        pipeline: Transforms; gets ``img``, (512, 512, 3) float32 BGR in [0, 1].
    """

    def __init__(self, *, data_root: str, pipeline: list[dict] = []) -> None:
        self.last_image: tuple[int, np.ndarray] | None = None
        super().__init__(data_root=data_root, pipeline=pipeline, test_mode=True)

    def load_data_list(self) -> list[dict]:
        """Return a dict per crop."""
        boxes = read_boxes(self.data_root)
        return [
            dict(img_path=crop_name(image, box), image=image, box=boxes[image, box].tolist())
            for image, box in np.ndindex(IMAGES, BOXES)
        ]

    def get_data_info(self, idx: int) -> dict:
        """Return a crop with its array; the photograph is kept for the crops that follow."""
        info = super().get_data_info(idx)
        if self.last_image is None or self.last_image[0] != info["image"]:
            self.last_image = (info["image"], read_image(self.data_root, info["image"]))
        top, left, bottom, right = info["box"]
        crop = self.last_image[1][top:bottom, left:right, ::-1]
        return info | dict(img=crop, ori_shape=crop.shape[:2])


@METRICS.register_module()
class DNDSubmission(BaseMetric):
    """Writes the denoised crops of DND, and the server's files when all are there.

    A crop is known by its name, ``0001_01`` to ``0050_20``. Crops wait in ``<out_dir>-crops``, so
    that memory does not grow; the folder is removed when the files are written.

    Args:
        out_dir: Folder for the 50 files.
        collect_device: As for :class:`mmengine.evaluator.BaseMetric`.
        prefix: Prefix of the figure's name.
    """

    default_prefix = "dnd"

    def __init__(
        self,
        *,
        out_dir: str = "dnd_submission",
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.out_dir = Path(out_dir)
        self.crops = self.out_dir.with_name(f"{self.out_dir.name}-crops")

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write each crop, float32 in [0, 1]."""
        for sample in data_samples:
            name = crop_name(*crop_indices(sample["img_path"]))
            content = io.BytesIO()
            np.save(content, to_image(sample["pred_img"]))
            write_file(self.crops / f"{name}.npy", content.getvalue())
            self.results.append(name)

    def compute_metrics(self, results: list[str]) -> dict[str, float]:
        """Write the files.

        Returns:
            How many crops they hold.

        Raises:
            ValueError: Crops are missing; nothing is written.
        """
        stale = {path.stem for path in self.crops.glob("*.npy")} - set(results)
        for name in stale:  # of an earlier run that was interrupted
            (self.crops / f"{name}.npy").unlink()
        write_submission(self.out_dir, self.crops)
        shutil.rmtree(self.crops)
        return dict(crops=len(set(results)))
