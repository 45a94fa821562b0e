"""SIDD: the validation and benchmark blocks, and the file that its server takes.

Both sets are 40 images of 32 blocks, 256 x 256 RGB, in a MATLAB file each:
``ValidationNoisyBlocksSrgb.mat``, ``ValidationGtBlocksSrgb.mat``, ``BenchmarkNoisyBlocksSrgb.mat``.
The array in a file is named as the file. Figures on the validation blocks (what papers report,
39.89 dB for Uformer-B) are not those of the server (39.74 dB for the same weights, by users).

Source: the benchmark's MATLAB code (https://www.eecs.yorku.ca/~kamel/sidd/benchmark.php).
"""

import io
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

IMAGES, BLOCKS, SIDE = 40, 32, 256


def read_blocks(path: str | Path) -> np.ndarray:
    """Read the blocks of one of SIDD's MATLAB files.

    Args:
        path: File whose array is named as the file without its suffix.

    Returns:
        (40, 32, 256, 256, 3) uint8 RGB.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Expected a MATLAB file of SIDD's validation or benchmark "
            "blocks; get it from the benchmark's page, or correct data_root."
        )
    try:
        content = scipy.io.loadmat(path, variable_names=[path.stem])
    except (ValueError, NotImplementedError, TypeError) as error:
        raise ValueError(
            f"{path} is no MATLAB 5 file ({error}). Expected the file as published; download it "
            "again."
        ) from error
    expected = (IMAGES, BLOCKS, SIDE, SIDE, 3)
    blocks = content.get(path.stem)
    if blocks is None or blocks.shape != expected or blocks.dtype != np.uint8:
        found = "nothing" if blocks is None else f"{blocks.dtype} of shape {blocks.shape}"
        raise ValueError(
            f"{path}: {path.stem!r} holds {found}. Expected uint8 of shape {expected}, in a file "
            "that keeps its published name."
        )
    return blocks


def write_submission(
    path: str | Path,
    blocks: np.ndarray,
    *,
    seconds_per_megapixel: float,
    description: dict[str, str] | None = None,
) -> None:
    """Write ``SubmitSrgb.mat`` for the server.

    Args:
        path: File to write, complete or not at all.
        blocks: (40, 32, 256, 256, 3) uint8 RGB, denoised.
        seconds_per_megapixel: Run time that the server shows.
        description: Text fields for the server's table, such as ``MethodName``, ``Authors``.

    Raises:
        ValueError: The blocks are not complete or of another type.
    """
    expected = (IMAGES, BLOCKS, SIDE, SIDE, 3)
    if blocks.shape != expected or blocks.dtype != np.uint8:
        raise ValueError(
            f"denoised blocks: {blocks.dtype} of shape {blocks.shape}. Expected uint8 of {expected}"
        )
    cells = np.empty((IMAGES, BLOCKS), dtype=object)
    for place in np.ndindex(cells.shape):
        cells[place] = blocks[place]
    content = io.BytesIO()
    variables = dict(
        DenoisedBlocksSrgb=cells,
        TimeMPSrgb=float(seconds_per_megapixel),
        OptionalData=description or dict(MethodName=""),
    )
    scipy.io.savemat(content, variables, do_compression=True)
    write_file(path, content.getvalue())


@DATASETS.register_module()
class SIDDBlocks(BaseDataset):
    """The blocks of SIDD's validation or benchmark set, in the order of the file.

    Args:
        noisy_file: MATLAB file of the noisy blocks.
        gt_file: That of the clean ones; None for the benchmark, whose are not public.
        data_root: Folder of both.
        pipeline: Transforms; gets ``img`` and ``gt``, (256, 256, 3) uint8 BGR, and ``block``, the
            index from 0 to 1279.
    """

    def __init__(
        self,
        *,
        noisy_file: str = "ValidationNoisyBlocksSrgb.mat",
        gt_file: str | None = "ValidationGtBlocksSrgb.mat",
        data_root: str = "",
        pipeline: list[dict] = [],
    ) -> None:
        self.noisy_file, self.gt_file = noisy_file, gt_file
        super().__init__(data_root=data_root, pipeline=pipeline, test_mode=True)

    def load_data_list(self) -> list[dict]:
        """Read the files and return a dict per block."""
        root = Path(self.data_root or "")
        self.blocks = dict(img=read_blocks(root / self.noisy_file))
        if self.gt_file is not None:
            self.blocks["gt"] = read_blocks(root / self.gt_file)
        return [
            dict(img_path=f"{self.noisy_file}[{image}, {block}]", block=image * BLOCKS + block)
            for image, block in np.ndindex(IMAGES, BLOCKS)
        ]

    def get_data_info(self, idx: int) -> dict:
        """Return a block with its arrays."""
        info = super().get_data_info(idx)
        place = divmod(info["block"], BLOCKS)
        arrays = {key: blocks[place][..., ::-1] for key, blocks in self.blocks.items()}
        return info | arrays | dict(ori_shape=(SIDE, SIDE))


@METRICS.register_module()
class SIDDSubmission(BaseMetric):
    """Collects the denoised blocks of :class:`SIDDBlocks` and writes the server's file.

    Args:
        out_file: ``SubmitSrgb.mat``, written when all 1280 blocks are there.
        seconds_per_megapixel: Run time that the server shows.
        description: Text fields for the server's table, such as ``MethodName``, ``Authors``.
        collect_device: As for :class:`mmengine.evaluator.BaseMetric`.
        prefix: Prefix of the figure's name.
    """

    default_prefix = "sidd"

    def __init__(
        self,
        *,
        out_file: str = "SubmitSrgb.mat",
        seconds_per_megapixel: float = 0.0,
        description: dict[str, str] | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.out_file = out_file
        self.options = dict(seconds_per_megapixel=seconds_per_megapixel, description=description)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each block, rounded to 8 bits."""
        for sample in data_samples:
            block = np.round(to_image(sample["pred_img"]) * 255).astype(np.uint8)
            self.results.append((sample["block"], block))

    def compute_metrics(self, results: list[tuple[int, np.ndarray]]) -> dict[str, float]:
        """Write the file.

        Returns:
            How many blocks it holds.

        Raises:
            ValueError: Blocks are missing; nothing is written.
        """
        found = dict(results)
        missing = sorted(set(range(IMAGES * BLOCKS)) - found.keys())
        if missing:
            raise ValueError(
                f"{self.out_file} is not written: {len(missing)} of {IMAGES * BLOCKS} blocks are "
                f"missing, the first is {missing[0]}. Test on all of SIDDBlocks."
            )
        blocks = np.stack([found[index] for index in range(IMAGES * BLOCKS)])
        blocks = blocks.reshape(IMAGES, BLOCKS, *blocks.shape[1:])
        write_submission(self.out_file, blocks, **self.options)
        return dict(blocks=len(found))
