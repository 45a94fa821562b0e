"""Pictures of scenes while a model is validated and tested."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmext.registry import HOOKS

from .structures import Det3DSample
from .viewer import BoxSet, color_by_class, draw_png, write_picture


@HOOKS.register_module()
class SceneVisualizationHook(Hook):
    """Draws the first scenes of each validation, and those of a test if asked to.

    True boxes are green; predicted boxes, and points in them that have no colour of their own, have
    that of their class.

    Args:
        val_scenes: How many scenes of each validation go to the visualiser's backends.
        draw: Whether to draw the scenes of a test.
        show: Refused: what ``tools/test.py --show`` sets.
        wait_time: What it sets as well.
        test_out_dir: Folder for the test's pictures, below the run's folder; None gives them to the
            backends.
        out_format: Of the pictures in that folder: ``'png'``, or ``'html'`` for pages that turn.
        score_thr: Least score that is drawn.
        max_boxes: Most predicted boxes per scene.

    Raises:
        ValueError: ``show``; windows do not turn scenes, pages do.
    """

    def __init__(
        self,
        *,
        val_scenes: int = 2,
        draw: bool = False,
        show: bool = False,
        wait_time: float = 0.0,
        test_out_dir: str | None = None,
        out_format: Literal["png", "html"] = "png",
        score_thr: float = 0.3,
        max_boxes: int = 40,
    ) -> None:
        if show:
            raise ValueError(
                "scenes are not shown in a window. Use --show-dir in place of --show, and for "
                "pages that turn --cfg-options default_hooks.visualization.out_format=html"
            )
        if out_format not in ("png", "html"):
            raise ValueError(
                f"default_hooks.visualization.out_format is {out_format!r}. Expected png or html."
            )
        self.val_scenes = val_scenes
        self.draw = draw
        self.test_out_dir = test_out_dir
        self.out_format = out_format
        self.score_thr = score_thr
        self.max_boxes = max_boxes

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[Det3DSample] | None = None,
    ) -> None:
        """Give the validation's first scenes to the backends."""
        left = self.val_scenes - batch_idx * runner.val_dataloader.batch_size
        for index, sample in enumerate(outputs[: max(left, 0)]):
            self._to_backends(runner, "val", data_batch, index, sample)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[Det3DSample] | None = None,
    ) -> None:
        """Draw the test's scenes."""
        if not self.draw:
            return
        for index, sample in enumerate(outputs):
            if self.test_out_dir is None:
                self._to_backends(runner, "test", data_batch, index, sample)
            else:
                folder = Path(runner.work_dir, runner.timestamp, self.test_out_dir)
                points, truth, found = self._scene(data_batch, index, sample)
                classes = runner.test_dataloader.dataset.metainfo["classes"]
                name = str(sample.sample_idx)
                path = folder / f"{name}.{self.out_format}"
                write_picture(path, points, classes, truth, found, title=name)

    @master_only
    def _to_backends(
        self, runner: Runner, kind: str, data_batch: dict, index: int, sample: Det3DSample
    ) -> None:
        loader = runner.val_dataloader if kind == "val" else runner.test_dataloader
        points, truth, found = self._scene(data_batch, index, sample)
        name = str(sample.sample_idx)
        content = draw_png(points, loader.dataset.metainfo["classes"], truth, found, title=name)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        runner.visualizer.add_image(f"{kind}_{name}", image[..., ::-1], runner.iter)

    def _scene(
        self, data_batch: dict, index: int, sample: Det3DSample
    ) -> tuple[np.ndarray, BoxSet | None, BoxSet]:
        """Return points, true boxes if there are any, and predicted ones."""
        pred = sample.pred_instances_3d.to("cpu")
        boxes = BoxSet(pred.bboxes_3d, pred.labels_3d.numpy(), pred.scores_3d.numpy())
        found = boxes.best(self.max_boxes, self.score_thr)
        truth = None
        if "gt_instances_3d" in sample:
            true = sample.gt_instances_3d.to("cpu")
            truth = BoxSet(true.bboxes_3d, true.labels_3d.numpy())
        points = data_batch["inputs"]["points"][index].cpu().numpy()
        if points.shape[1] < 6:
            points = color_by_class(points, found)
        return points, truth, found
