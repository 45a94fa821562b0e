import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmext.engine import import_host
from mmext.engine.preflight import ConfigError, check_datasets

GOOD = "10 10 30 10 30 20 10 20 tug 0\n"


@pytest.fixture
def root(tmp_path):
    """Two images, one without objects."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name, text in (("a", GOOD), ("b", "")):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.zeros((40, 40, 3), np.uint8))
        (tmp_path / "labels" / f"{name}.txt").write_text(text)
    return tmp_path


def check(root, *, num_classes=2, **changes):
    import_host("mmrotate")
    dataset = dict(
        type="DOTADataset",
        data_root=str(root),
        ann_file="labels",
        data_prefix=dict(img_path="images"),
        metainfo=dict(classes=("raft", "tug")),
    )
    cfg = Config(
        dict(
            default_scope="mmrotate",
            model=dict(bbox_head=dict(num_classes=num_classes)),
            train_dataloader=dict(dataset={**dataset, **changes}),
        )
    )
    check_datasets(cfg, ("train",))


def refuses(root, words, **changes):
    with pytest.raises(ConfigError) as error:
        check(root, **changes)
    message = str(error.value)
    for word in words:
        assert word in message, message


def test_a_good_set_passes(root):
    check(root)


def test_subclasses_are_checked_too(root):
    refuses(root, ["none of plane"], type="DOTAv15Dataset", metainfo={}, num_classes=16)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("ann_file", "nothing", ["train_dataloader.dataset.ann_file", "nothing", "does not exist"]),
        ("ann_file", "images", ["no txt file", "leave ann_file empty"]),
        ("data_prefix", dict(img_path="no"), ["data_prefix.img_path", "no'", "does not exist"]),
        ("img_suffix", "jpg", ["no *.jpg file, but .png", "Set img_suffix"]),
        ("metainfo", dict(classes="tug"), ["is the string 'tug'", "classes=('tug',)"]),
        ("num_classes", 15, ["model.bbox_head.num_classes is 15", "2 classes"]),
    ],
)
def test_wrong_config(root, key, value, words):
    refuses(root, words, **{key: value})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 2 3 4 5 6 7 tug 0", ["a.txt:2", "expected 'x1 y1", "Correct or remove the line"]),
        ("1 2 3 x 5 6 7 8 tug 0", ["a.txt:2", "could not convert"]),
        ("1 2 3 nan 5 6 7 8 tug 0", ["a.txt:2", "not finite"]),
        ("1 2 3 4 5 6 7 8 tug", ["a.txt:2", "difficulty"]),
        ("1 2 3 4 5 6 7 8 boat 0", ["a.txt:2", "class 'boat'", "none of raft, tug"]),
        ("5 5 5 5 5 5 5 5 tug 0", ["a.txt:2", "without extent"]),
        ("", ["a.txt:2", "empty lines"]),
        ("gsd:0.5", ["a.txt:2", "without headers"]),
    ],
)
def test_wrong_line_is_named_with_file_and_number(root, line, words):
    (root / "labels" / "a.txt").write_text(f"{GOOD}{line}\n")
    refuses(root, words)


def test_label_without_image(root):
    (root / "images" / "b.png").unlink()
    refuses(root, ["1 of 2 label files have no image", "b.txt", "b.png"])


def test_empty_image(root):
    (root / "images" / "b.png").write_bytes(b"")
    refuses(root, ["1 of 2 images are empty files", "b.png"])


def test_image_without_label_is_told(root, monkeypatch):
    """Left out by the data set in silence; no fault where splits share a folder of images."""
    told = []
    monkeypatch.setattr(
        "mmext.rotated.dota_check.print_log", lambda text, **options: told.append(text)
    )
    (root / "labels" / "b.txt").unlink()
    check(root)
    assert len(told) == 1
    assert "1 of 2 images have no label file" in told[0]
    assert "b.txt" in told[0]


def test_images_without_labels_at_all(root):
    check(root, ann_file="")
