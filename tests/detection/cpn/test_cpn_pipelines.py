"""The image pipelines of the COCO configs, on a small picture."""

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
        cfg = Config.fromfile(repo_root / "configs" / "cpn" / f"cpn_{config}_coco.py")
        for loader in ("val_dataloader", "test_dataloader"):
            assert cfg[loader].dataset.pipeline == cfg.test_pipeline
        assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
        dataset = CocoDataset(
            data_root=str(tmp_path),
            ann_file="annotations.json",
            data_prefix=dict(img="images"),
            metainfo=dict(classes=CLASSES),
            pipeline=cfg[pipeline],
        )
        return dataset[0]

    return first


@pytest.mark.parametrize("config", ["dla34", "hourglass52", "hourglass104"])
def test_training(read, config):
    packed = read(config, "train_pipeline")
    assert packed["inputs"].shape == (3, 511, 511)
    boxes = packed["data_samples"].gt_instances.bboxes.tensor
    assert len(boxes) > 0
    assert 0 <= boxes.min() <= boxes.max() <= 511


@pytest.mark.parametrize(
    ("config", "size", "scale"),
    [
        ("dla34", 96, 1.0),
        ("hourglass52", 127, 1.0),
        ("hourglass104_ms", 127, 1.0),
        ("hourglass104_0.7x", 127, 0.7),
    ],
)
def test_one_view(read, config, size, scale):
    packed = read(config, "test_pipeline")
    assert packed["inputs"].shape == (3, size, size)
    assert packed["data_samples"].scale_factor == (scale, scale)


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ("dla34", [96]),
        ("hourglass52", [127]),
        ("hourglass52_0.7x", [127]),
        ("dla34_ms", [64, 96, 96, 128, 128]),
        ("hourglass52_ms", [127] * 5),
    ],
)
def test_several_views(read, config, sizes):
    packed = read(config, "tta_pipeline")
    assert [view.shape[1] for view in packed["inputs"][::2]] == sizes
    assert [view.flip for view in packed["data_samples"]] == [False, True] * len(sizes)
