"""Pictures of what a restorer did: input | output | target | error map."""

from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from mmext.registry import HOOKS, VISUALIZERS

from .data_preprocessor import to_unit_rgb
from .metrics import to_image


def panel(
    image: np.ndarray, pred: np.ndarray, target: np.ndarray | None, error_range: float
) -> np.ndarray:
    """Return input, output, target and error map side by side.

    Args:
        image: (H, W, 3) degraded RGB in [0, 1].
        pred: (H, W, 3) restored.
        target: (H, W, 3) target; None leaves it and the error map out.
        error_range: Error that is drawn in the brightest colour, on the scale of [0, 1].

    Returns:
        (H, 4 W, 3) or (H, 2 W, 3) uint8 RGB. The error of a pixel is the mean over its channels.
    """
    parts = [image, pred] if target is None else [image, pred, target]
    drawn = [np.round(part.clip(0, 1) * 255).astype(np.uint8) for part in parts]
    if target is not None:
        error = np.abs(pred - target).mean(axis=2) / error_range
        error = np.round(error.clip(0, 1) * 255).astype(np.uint8)
        drawn.append(
            cv2.cvtColor(cv2.applyColorMap(error, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
        )
    return np.hstack(drawn)


@VISUALIZERS.register_module()
class RestorationVisualizer(Visualizer):
    """Draws input | output | target | error map and gives it to the visualisation backends.

    Args:
        name: Name of the instance.
        error_range: Error that is drawn in the brightest colour, on the scale of [0, 1].
        **kwargs: As for :class:`mmengine.visualization.Visualizer`: ``vis_backends``, ``save_dir``.
    """

    def __init__(
        self, name: str = "visualizer", *, error_range: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(name, **kwargs)
        self.error_range = error_range

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: BaseDataElement,
        *,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
    ) -> None:
        """Draw one image.

        Args:
            name: Under which the backends (files, TensorBoard, ...) keep the picture.
            image: (H, W, 3) degraded RGB in [0, 1].
            data_sample: With ``pred_img`` and perhaps ``gt_img``, (3, H, W) RGB in [0, 1].
            show: Show the picture in a window.
            wait_time: Seconds to show it.
            out_file: Write the picture to this file instead of giving it to the backends.
            step: Iteration that the backends note.
        """
        target = to_image(data_sample.gt_img) if "gt_img" in data_sample else None
        drawn = panel(image, to_image(data_sample.pred_img), target, self.error_range)
        self.set_image(drawn)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(drawn[..., ::-1], out_file)
        else:
            self.add_image(name, drawn, step)


@HOOKS.register_module()
class RestorationVisualizationHook(Hook):
    """Draws the first images of each validation, and those of a test if asked to.

    Args:
        val_images: How many images of each validation go to the visualiser's backends.
        draw: Whether to draw the images of a test.
        show: Show them in a window.
        wait_time: Seconds to show each.
        test_out_dir: Folder for the test's pictures, below the run's folder; None gives them to the
            backends.
    """

    def __init__(
        self,
        *,
        val_images: int = 4,
        draw: bool = False,
        show: bool = False,
        wait_time: float = 0.0,
        test_out_dir: str | None = None,
    ) -> None:
        self.val_images = val_images
        self.draw = draw
        self.show = show
        self.wait_time = wait_time
        self.test_out_dir = test_out_dir

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Give the validation's first images to the backends."""
        first = batch_idx * runner.val_dataloader.batch_size
        for index, sample in enumerate(outputs, start=first):
            if index < self.val_images:
                image = _degraded(data_batch, index - first, runner)
                runner.visualizer.add_datasample(f"val_{index}", image, sample, step=runner.iter)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw the test's images."""
        if not self.draw:
            return
        first = batch_idx * runner.test_dataloader.batch_size
        for index, sample in enumerate(outputs, start=first):
            out_file = None
            if self.test_out_dir is not None:
                folder = f"{runner.work_dir}/{runner.timestamp}/{self.test_out_dir}"
                out_file = f"{folder}/{index:05d}.png"
            runner.visualizer.add_datasample(
                f"test_{index}",
                _degraded(data_batch, index - first, runner),
                sample,
                show=self.show,
                wait_time=self.wait_time,
                out_file=out_file,
                step=index,
            )


def _degraded(data_batch: dict, index: int, runner: Runner) -> np.ndarray:
    """Return the (H, W, 3) RGB input of an image; of several views the first."""
    model = getattr(runner.model, "module", runner.model)
    image = to_unit_rgb(data_batch["inputs"][index], model.data_preprocessor.bgr_to_rgb)
    return to_image(image[:3])
