"""The data sets of folders: layouts, lists, bad input, checks before training."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from tiny_segmentation import CLASSES, LABELS, LOAD, PACK, domain

from mmext.engine import ConfigError, check_datasets


def touch(root, *names, ids=None):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.full((4, 6), 7, np.uint8) if ids is None else ids)


def build(kind, root, **changes):
    options = dict(type=f"mmext.{kind}", data_root=str(root), pipeline=[LOAD, LABELS, PACK])
    return DATASETS.build({**options, **changes})


@pytest.mark.parametrize(
    ("kind", "image", "label"),
    [
        ("GTA5Dataset", "images/00001.png", "labels/00001.png"),
        (
            "CityscapesDataset",
            "leftImg8bit/train/aachen/a_0_leftImg8bit.png",
            "gtFine/train/aachen/a_0_gtFine_labelIds.png",
        ),
        (
            "IDDDataset",
            "leftImg8bit/train/0/1_leftImg8bit.jpg",
            "gtFine/train/0/1_gtFine_labelids.png",
        ),
        ("MapillaryDataset", "training/images/x.jpg", "training/labels/x.png"),
        ("SynscapesDataset", "img/rgb/1.png", "img/class/1.png"),
        ("SynthiaDataset", "RGB/0000000.png", "GT/LABELS/0000000.png"),
    ],
)
def test_layouts(tmp_path, kind, image, label):
    touch(tmp_path, image, label)
    dataset = build(kind, tmp_path)
    assert len(dataset) == 1
    assert len(dataset.metainfo["classes"]) == 19
    sample = dataset[0]["data_samples"]
    expected = dataset.label_table.lut[7]
    assert (sample.gt_sem_seg.data == expected).all()
    for part in (16, 13, 7):
        small = build(kind, tmp_path, class_set=f"cityscapes_{part}")
        assert len(small.metainfo["classes"]) == len(small.metainfo["palette"]) == part


def test_variant_of_a_table(tmp_path):
    touch(tmp_path, "images/1.png", "labels/1.png", ids=np.full((4, 6), 22, np.uint8))
    for variant, expected in ((None, 3), ("terrain_flat", 0)):
        dataset = build("GTA5Dataset", tmp_path, class_set="cityscapes_7", variant=variant)
        assert (dataset[0]["data_samples"].gt_sem_seg.data == expected).all()


def test_gta5_leaves_out_pairs_known_not_to_fit(tmp_path):
    touch(tmp_path, "images/15188.png", "images/17705.png", "labels/17705.png", "images/2.png")
    touch(tmp_path, "labels/15188.png", "labels/2.png", ids=np.zeros((8, 8), np.uint8))
    names = [entry["img_path"] for entry in build("GTA5Dataset", tmp_path).load_data_list()]
    assert [name.rpartition("/")[2] for name in names] == ["17705.png", "2.png"]


def test_lists_with_several_suffixes(tmp_path):
    touch(tmp_path, "images/a/1.png", "images/2.jpg", "images/3.png", "images/.hidden.png")
    options = dict(data_prefix=dict(img_path="images"), metainfo=dict(classes=CLASSES))
    assert len(build("FolderSegDataset", tmp_path, **options)) == 3
    (tmp_path / "list.txt").write_text("# first\na/1\n2\n\n")
    dataset = build("FolderSegDataset", tmp_path, ann_file="list.txt", **options)
    assert [entry["img_path"][-5:] for entry in dataset.load_data_list()] == ["1.png", "2.jpg"]
    (tmp_path / "list.txt").write_text("9\n")
    with pytest.raises(FileNotFoundError, match=r"names 1 images that are not in .*: 9"):
        build("FolderSegDataset", tmp_path, ann_file="list.txt", **options)


def test_camvid_in_the_classes_of_idd_lite(tmp_path):
    touch(tmp_path, "images/test/1.jpg", "labels/test/1.png", ids=np.full((4, 6), 3, np.uint8))
    prefix = dict(img_path="images/test", seg_map_path="labels/test")
    for classes, expected in (("camvid_11", 3), ("idd_lite_7", 0)):
        dataset = build("CamVidDataset", tmp_path, class_set=classes, data_prefix=prefix)
        assert (dataset[0]["data_samples"].gt_sem_seg.data == expected).all()
    lite = build("IDDLiteDataset", tmp_path, data_prefix=prefix)
    assert lite.metainfo["classes"] == dataset.metainfo["classes"]


def test_drives_of_camvid(tmp_path):
    touch(tmp_path, "images/0001TP_1.jpg", "images/0016E5_1.jpg", "images/0016E5_2.jpg")
    options = dict(data_prefix=dict(img_path="images"))
    dataset = build("CamVidDataset", tmp_path, drives=["0016E5"], **options)
    names = [entry["img_path"][-12:] for entry in dataset.load_data_list()]
    assert names == ["0016E5_1.jpg", "0016E5_2.jpg"]
    with pytest.raises(ValueError, match=r"no frames of the drives \['Seq05VD'\], only of \['0001"):
        build("CamVidDataset", tmp_path, drives=["0016E5", "Seq05VD"], **options)


def test_empty_and_missing_folders(tmp_path):
    options = dict(data_prefix=dict(img_path="images"), metainfo=dict(classes=CLASSES))
    with pytest.raises(
        FileNotFoundError, match=r"does not exist. Expected the folder of the images"
    ):
        build("FolderSegDataset", tmp_path, **options)
    (tmp_path / "images").mkdir()
    with pytest.raises(
        ValueError, match=r"no image found: .*images names none that ends with \.png"
    ):
        build("FolderSegDataset", tmp_path, **options)
    with pytest.raises(ValueError, match="either class_set or metainfo"):
        build("FolderSegDataset", tmp_path)


def check(dataset, model=None, split="train"):
    cfg = Config(dict(default_scope="mmseg", model=model or {}))
    cfg[f"{split}_dataloader"] = dict(dataset=dataset)
    check_datasets(cfg, (split,))


def test_checks_pass_on_good_data(domains):
    check(domain(domains, "red", [LOAD, LABELS, PACK]))


def test_checks_name_what_is_wrong(domains):
    red = domain(domains, "red", [LOAD, LABELS, PACK])
    with pytest.raises(ConfigError, match=r"pipeline\[1\]: LoadAnnotations takes the ids"):
        check({**red, "pipeline": [LOAD, dict(type="LoadAnnotations"), PACK]})
    head = dict(decode_head=dict(type="FCNHead", num_classes=19))
    with pytest.raises(
        ConfigError, match=r"model\.decode_head\.num_classes is 19, but .* 3 classes"
    ):
        check(red, model=head)
    label = domains / "red" / "labels" / "3.png"
    content = label.read_bytes()
    cv2.imwrite(str(label), np.full((32, 64), 9, np.uint8))
    with pytest.raises(ConfigError, match=r"3\.png has the label ids 9"):
        check(red)
    cv2.imwrite(str(label), np.zeros((30, 64), np.uint8))
    with pytest.raises(ConfigError, match=r"images/3\.png is 64x32 pixels, .*labels/3\.png 64x30"):
        check(red)
    label.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"3\.png is no readable image"):
        check(red)
    label.unlink()
    with pytest.raises(ConfigError, match="1 of 8 images have no label file"):
        check(red)
    label.write_bytes(content)
    check(red)
    with pytest.raises(ConfigError, match="does not exist"):
        check({**red, "data_prefix": dict(img_path="pictures")})


def test_checks_do_not_look_at_labels_of_targets(config, domains):
    for path in (domains / "blue" / "labels").iterdir():
        path.write_bytes(b"")
    check_datasets(config, ("train",))
    with pytest.raises(ConfigError, match="is no readable image"):
        check_datasets(config, ("test",))
