"""The hook that draws scenes of validations and tests."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from indoor_files import BOXES, cloud
from mmengine.structures import InstanceData

from mmext.detection3d.structures import Boxes3D, Det3DSample
from mmext.registry import HOOKS


def hook(**options):
    return HOOKS.build(dict(type="mmext.SceneVisualizationHook", **options))


def outputs(names, truth=True, score=0.9):
    samples = [Det3DSample(metainfo=dict(sample_idx=name)) for name in names]
    for sample in samples:
        boxes, labels = Boxes3D(BOXES), torch.tensor([0, 1])
        if truth:
            sample.gt_instances_3d = InstanceData(bboxes_3d=boxes, labels_3d=labels)
        scores = torch.tensor([score, 0.1])
        sample.pred_instances_3d = InstanceData(
            bboxes_3d=boxes.translate((0.3, 0.3, 0.1)), labels_3d=labels, scores_3d=scores
        )
    return samples


def batch(count, columns=3):
    points = cloud()[0][:, :columns] / (1, 1, 1, 255, 255, 255)[:columns]
    return dict(inputs=dict(points=[torch.from_numpy(points).float()] * count))


@pytest.fixture
def runner(tmp_path):
    shown = {}
    loader = SimpleNamespace(
        batch_size=2, dataset=SimpleNamespace(metainfo=dict(classes=("chair", "bed")))
    )
    visualizer = SimpleNamespace(add_image=lambda name, image, step: shown.update({name: image}))
    return SimpleNamespace(
        val_dataloader=loader, test_dataloader=loader, visualizer=visualizer, shown=shown, iter=7,
        work_dir=str(tmp_path), timestamp="now",
    )  # fmt: skip


def green(image):
    """How much of an RGB image has the colour of true boxes."""
    return (np.abs(image.astype(int) - (0x1A, 0x98, 0x50)).sum(axis=2) < 30).sum()


def test_validation_draws_its_first_scenes(runner):
    draws = hook(val_scenes=3)
    for index in range(3):
        names = [f"s{2 * index}", f"s{2 * index + 1}"]
        draws.after_val_iter(runner, index, batch(2), outputs(names))
    assert list(runner.shown) == ["val_s0", "val_s1", "val_s2"]
    assert green(runner.shown["val_s0"]) > 50


def test_a_test_draws_when_asked_to(runner):
    hook().after_test_iter(runner, 0, batch(1), outputs(["a"]))
    assert not runner.shown
    hook(draw=True).after_test_iter(runner, 0, batch(1), outputs(["a"], truth=False))
    assert list(runner.shown) == ["test_a"]
    assert green(runner.shown["test_a"]) < 10


def test_pictures_of_a_test_go_to_its_folder(runner, tmp_path):
    draws = hook(draw=True, test_out_dir="shown")
    draws.after_test_iter(runner, 0, batch(2, columns=6), outputs(["a", "b"]))
    files = sorted((tmp_path / "now" / "shown").iterdir())
    assert [file.name for file in files] == ["a.png", "b.png"]
    assert green(cv2.imread(str(files[0]))[..., ::-1]) > 50


def test_boxes_of_low_score_are_left_out(runner):
    drawn = []
    for score_thr in (0.05, 0.5, 0.95):
        hook(draw=True, score_thr=score_thr).after_test_iter(
            runner, 0, batch(1), outputs(["a"], truth=False)
        )
        drawn.append((runner.shown["test_a"] != 255).sum())
    assert drawn[0] > drawn[1] > drawn[2]


def test_what_is_not_possible_is_an_error():
    with pytest.raises(ValueError, match="--show-dir in place of --show"):
        hook(show=True)
    with pytest.raises(ValueError, match=r"out_format is 'jpg'. Expected png or html"):
        hook(out_format="jpg")
