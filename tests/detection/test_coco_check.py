"""Faults of a COCO-format data set are found before training, with file, expectation, remedy."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_detection import tiny_config, write_coco

from mmext.engine import ConfigError, Runner, check_datasets, import_host


@pytest.fixture
def root(tmp_path: Path) -> Path:
    import_host("mmdet")
    write_coco(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def config(root: Path, tmp_path: Path) -> Config:
    return tiny_config(root, tmp_path / "work", max_iters=2)


def edit(root: Path, change) -> None:
    """Apply ``change`` to the annotation file's content."""
    file = root / "annotations.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def check(config: Config) -> None:
    check_datasets(config, ("train",))


def test_good_data_passes(config):
    check_datasets(config, ("train", "val", "test"))


def test_missing_annotation_file(config):
    config.train_dataloader.dataset.ann_file = "none.json"
    with pytest.raises(
        ConfigError, match=r"train_dataloader\.dataset\.ann_file: .*none\.json' does not exist"
    ):
        check(config)


@pytest.mark.parametrize("text", ["", "{", "<html>"])
def test_malformed_json(config, root, text):
    (root / "annotations.json").write_text(text)
    with pytest.raises(ConfigError, match=r"annotations\.json is not valid JSON"):
        check(config)


def test_json_of_another_format(config, root):
    (root / "annotations.json").write_text("[1, 2]")
    with pytest.raises(ConfigError, match=r"expected a JSON object with the lists 'images'"):
        check(config)


@pytest.mark.parametrize("field", ["images", "annotations", "categories"])
def test_missing_list(config, root, field):
    edit(root, lambda content: content.pop(field))
    with pytest.raises(ConfigError, match=f"the list '{field}' is missing"):
        check(config)


def test_missing_field(config, root):
    edit(root, lambda content: content["annotations"][3].pop("area"))
    with pytest.raises(ConfigError, match=r"annotations\[3\] lacks 'area'"):
        check(config)


@pytest.mark.parametrize("field", ["image_id", "category_id"])
def test_dangling_id(config, root, field):
    edit(root, lambda content: content["annotations"][2].update({field: 99}))
    with pytest.raises(ConfigError, match=rf"annotations\[2\]\.{field} is 99"):
        check(config)


@pytest.mark.parametrize("box", [[1, 2, 3], "1 2 3 4", [0, 0, float("nan"), 4], None])
def test_box_that_is_none(config, root, box):
    edit(root, lambda content: content["annotations"][1].update(bbox=box))
    with pytest.raises(ConfigError, match=r"annotations\[1\]\.bbox is .*four finite numbers"):
        check(config)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([5, 5, 0, 10], "smaller than 1 pixel"),
        ([5, 5, 10, -3], "smaller than 1 pixel"),
        ([64, 0, 10, 10], "outside the image"),
        ([-20, 0, 20, 10], "outside the image"),
    ],
)
def test_useless_boxes_are_counted_and_left_out(config, root, capsys, box, reason):
    edit(root, lambda content: content["annotations"][0].update(bbox=box))
    runner = Runner.from_cfg(config)
    runner.train()
    output = capsys.readouterr()
    assert f"1 of 16 boxes are {reason} and are left out" in output.out + output.err
    samples = [runner.train_dataloader.dataset[i]["data_samples"] for i in range(8)]
    assert sum(len(sample.gt_instances) for sample in samples) == 15


def test_class_count_of_the_head(config):
    config.model.bbox_head.num_classes = 80
    with pytest.raises(
        ConfigError,
        match=r"model\.bbox_head\.num_classes is 80, but .* has 2 classes \(red, blue\)",
    ):
        check(config)


def test_class_that_the_file_lacks(config):
    config.train_dataloader.dataset.metainfo = dict(classes=("red", "green"))
    with pytest.raises(ConfigError, match=r"metainfo\.classes names \['green'\]"):
        check(config)


def test_classes_as_a_string(config):
    config.train_dataloader.dataset.metainfo = dict(classes="red")
    with pytest.raises(ConfigError, match=r"classes=\('red',\)"):
        check(config)


def test_missing_image(config, root):
    (root / "images" / "3.png").unlink()
    with pytest.raises(ConfigError, match=r"1 of 8 images are missing, the first is .*3\.png"):
        check(config)


@pytest.mark.parametrize("content", [b"", b"this is text, not a picture"])
def test_unreadable_image(config, root, content):
    (root / "images" / "5.png").write_bytes(content)
    with pytest.raises(ConfigError, match=r"1 of 8 files are no readable images, .*5\.png"):
        check(config)


def test_image_that_breaks_while_training_is_named(config, root):
    """A file with a good beginning and no content is met when it is read."""
    file = root / "images" / "0.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(AssertionError, match=r"failed to load image: .*0\.png"):
        Runner.from_cfg(config).train()


def test_only_the_splits_in_use_are_checked(config):
    config.train_dataloader.dataset.ann_file = "none.json"
    check_datasets(config, ("test",))


def test_wrapped_data_sets_are_checked(config):
    inner = config.train_dataloader.dataset
    inner.ann_file = "none.json"
    config.train_dataloader.dataset = dict(type="RepeatDataset", times=2, dataset=inner)
    with pytest.raises(ConfigError, match=r"train_dataloader\.dataset\.dataset\.ann_file"):
        check(config)
