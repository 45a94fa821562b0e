import importlib.util
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement

from mmext.registry import HOOKS, VISUALIZERS
from mmext.restoration.visualizer import panel


@pytest.fixture
def sample():
    target = torch.full((3, 4, 6), 0.5)
    pred = target.clone()
    pred[:, 0, 0] += 0.2
    return BaseDataElement(pred_img=pred, gt_img=target)


def test_panel_parts():
    image, pred, target = np.zeros((4, 6, 3)), np.full((4, 6, 3), 0.5), np.full((4, 6, 3), 0.5)
    pred[0, 0] = 0.7
    drawn = panel(image, pred, target, error_range=0.2)
    assert drawn.shape == (4, 24, 3)
    assert drawn.dtype == np.uint8
    assert drawn[0, [0, 6, 12], 0].tolist() == [0, 178, 128]
    error = drawn[:, 18:].astype(int).sum(axis=2)
    assert error[0, 0] > 400 > 20 > error[1:].max()  # bright where it is wrong, dark elsewhere
    assert panel(image, pred, None, 0.2).shape == (4, 12, 3)


@pytest.mark.parametrize(
    "backend",
    [
        "LocalVisBackend",
        pytest.param(
            "TensorboardVisBackend",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("tensorboard") is None,
                reason="tensorboard is not installed",
            ),
        ),
    ],
)
def test_backends_get_the_validations_first_images(backend, sample, tmp_path):
    visualizer = VISUALIZERS.build(
        dict(
            type="mmext.RestorationVisualizer",
            name=f"restoration_{backend}",
            vis_backends=[dict(type=backend)],
            save_dir=str(tmp_path),
        )
    )
    hook = HOOKS.build(dict(type="mmext.RestorationVisualizationHook", val_images=3))
    runner = SimpleNamespace(
        visualizer=visualizer,
        iter=7,
        val_dataloader=SimpleNamespace(batch_size=2),
        model=SimpleNamespace(data_preprocessor=SimpleNamespace(bgr_to_rgb=True)),
    )
    blue = torch.zeros(3, 4, 6, dtype=torch.uint8)
    blue[0] = 255
    for batch in range(3):
        hook.after_val_iter(runner, batch, dict(inputs=[blue, blue]), [sample, sample])
    visualizer.close()
    files = sorted(tmp_path.rglob("*.png"))
    if backend == "LocalVisBackend":
        assert [file.name for file in files] == ["val_0_7.png", "val_1_7.png", "val_2_7.png"]
        picture = cv2.imread(str(files[0]))
        assert picture.shape == (4, 24, 3)
        assert picture[0, 0].tolist() == [255, 0, 0]
    else:
        assert list(tmp_path.rglob("events.out.tfevents*"))


@pytest.mark.parametrize("draw", [False, True])
def test_tests_are_drawn_when_asked(draw, sample, tmp_path):
    hook = HOOKS.build(
        dict(type="mmext.RestorationVisualizationHook", draw=draw, test_out_dir="shown")
    )
    runner = SimpleNamespace(
        visualizer=VISUALIZERS.build(
            dict(type="mmext.RestorationVisualizer", name=f"restoration_{draw}")
        ),
        work_dir=str(tmp_path),
        timestamp="now",
        test_dataloader=SimpleNamespace(batch_size=1),
        model=SimpleNamespace(data_preprocessor=SimpleNamespace(bgr_to_rgb=True)),
    )
    for batch in range(2):
        hook.after_test_iter(runner, batch, dict(inputs=[torch.zeros(3, 4, 6)]), [sample])
    found = sorted(path.name for path in (tmp_path / "now").rglob("*.png"))
    assert found == (["00000.png", "00001.png"] if draw else [])
