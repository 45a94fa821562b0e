"""Running a trained translator over the images of a source."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, get_dist_info, is_main_process
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from mmext.files import write_file

from ..datasets.files import write_png
from ..datasets.pseudo import image_info, png_name, unlabelled

MANIFEST = "translation.json"


class SourceTranslator:
    """A trained translator and the images of a source, which it writes in the style of a target.

    Args:
        cfg: Config of the translator's training.
        checkpoint: Checkpoint of it.
        source: Config of the data set of the source.
        scale: Width and height to translate at; None: the images' own. Translated images are
            enlarged or reduced to the size of the original, which their labels have.
        device: Where to translate; None: the accelerator, if there is one.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str | Path,
        source: Mapping[str, Any],
        *,
        scale: tuple[int, int] | None = None,
        device: str | None = None,
    ) -> None:
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmseg")):
            model = MODELS.build({**cfg.model, "semantic": None})
            # What the semantic term saw with was only needed in training.
            state = load_checkpoint(model, str(checkpoint), "cpu", strict=False)["state_dict"]
            missing = model.state_dict().keys() - state.keys()
            if missing:
                raise ValueError(
                    f"{checkpoint} is not a checkpoint of this translator: it has no "
                    f"{sorted(missing)[0]} and {len(missing) - 1} others. Use the config that it "
                    "was trained with."
                )
            self.images = unlabelled(dict(source), "the source")
        self.model = model.to(device or get_device()).eval()
        self.scale = None if scale is None else tuple(scale)
        self.recipe = dict(
            checkpoint=hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest(),
            scale=None if scale is None else list(scale),
        )

    def __len__(self) -> int:
        return len(self.images)

    def write(self, folder: Path, progress: Callable[[], None] = lambda: None) -> Path:
        """Translate what is missing; several processes share the work.

        Images appear complete or not at all, as png files, under the names of the originals. A
        folder that was begun with another translator is begun anew.

        Args:
            folder: Folder to write.
            progress: Called for each image.

        Returns:
            ``folder``.
        """
        if is_main_process() and not self._is_begun(folder):
            shutil.rmtree(folder, ignore_errors=True)
            write_file(folder / MANIFEST, json.dumps(self.recipe, indent=2))
        barrier()
        rank, world_size = get_dist_info()
        root = self.images.data_prefix["img_path"]
        for index in range(rank, len(self), world_size):
            path = image_info(self.images, index)["img_path"]
            written = folder / png_name(path, root)
            if not written.is_file():
                write_png(written, self.translate(path))
            progress()
        barrier()
        return folder

    def _is_begun(self, folder: Path) -> bool:
        manifest = folder / MANIFEST
        return manifest.is_file() and json.loads(manifest.read_text()) == self.recipe

    @torch.no_grad()
    def translate(self, path: str) -> np.ndarray:
        """Return a translated image.

        Args:
            path: File of the image.

        Returns:
            (H, W, 3) uint8 BGR, of the image's own size.

        Raises:
            ValueError: The file is no image.
        """
        image = cv2.imread(path)
        if image is None:
            raise ValueError(f"{path} is no readable image; copy it again or remove it.")
        size = image.shape[1::-1]
        if self.scale not in (None, size):
            image = _resized(image, self.scale)
        inputs = torch.from_numpy(image.transpose(2, 0, 1))
        batch = self.model.data_preprocessor(dict(inputs=[inputs]))["inputs"]
        rgb = self.model.predict(batch)[0].pred_img.clamp(0, 1).mul(255).round().byte()
        translated = np.ascontiguousarray(rgb.permute(1, 2, 0).cpu().numpy()[..., ::-1])
        return translated if size == translated.shape[1::-1] else _resized(translated, size)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = size[0] < image.shape[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
