"""The image pipelines of the COCO configs, on small pictures."""

import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tiny_detection import CLASSES, write_coco


@pytest.fixture
def read(repo_root, tmp_path):
    """Read the first picture, of 64 x 64 px, with a pipeline of a config."""
    write_coco(tmp_path, images=1)
    init_default_scope("mmdet")

    def first(config: str, pipeline: str) -> dict:
        cfg = Config.fromfile(repo_root / "configs" / "centernet_triplet" / config)
        dataset = CocoDataset(
            data_root=str(tmp_path),
            ann_file="annotations.json",
            data_prefix=dict(img="images"),
            metainfo=dict(classes=CLASSES),
            pipeline=cfg[pipeline],
        )
        return dataset[0]

    return first


def test_training(read):
    packed = read("centernet-triplet_hourglass52_coco.py", "train_pipeline")
    assert packed["inputs"].shape == (3, 511, 511)
    assert packed["inputs"].is_floating_point()
    boxes = packed["data_samples"].gt_instances.bboxes.tensor
    assert len(boxes) > 0
    assert boxes.min() >= 0
    assert boxes.max() <= 511


def test_one_view(read):
    packed = read("centernet-triplet_hourglass52_coco.py", "test_pipeline")
    assert packed["inputs"].shape == (3, 127, 127)
    assert packed["data_samples"].border == (31, 95, 31, 95)
    assert packed["data_samples"].scale_factor == (1.0, 1.0)


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ("centernet-triplet_hourglass104_coco.py", [1.0]),
        ("centernet-triplet_hourglass104_ms_coco.py", [0.6, 1.0, 1.2, 1.5, 1.8]),
        ("centernet-triplet_efflite0_trees.py", [1.0]),
    ],
)
def test_several_views(read, config, scales):
    views = read(config, "tta_pipeline")["data_samples"]
    assert [view.scale_factor[0] for view in views[::2]] == scales
    assert [view.flip for view in views] == [False, True] * len(scales)
