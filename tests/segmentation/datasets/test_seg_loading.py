"""Label files as data sets ship them: palettes, 16 bits, colours, sizes."""

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image

from mmext.segmentation.datasets import CLASS_SETS, LABEL_TABLES, LoadLabelIds
from mmext.segmentation.datasets.label_tables import identity
from mmext.segmentation.datasets.loading import decode_label_ids

IDS = np.array([[7, 8, 11], [26, 33, 0]], np.uint8)


def palette_file(path, ids=IDS):
    image = Image.fromarray(ids).convert("P")
    image.putdata(ids.ravel().tolist())
    image.putpalette([value for i in range(256) for value in (i, 255 - i, (7 * i) % 256)])
    image.save(path)
    return path


def load(path, table="gta5/cityscapes_19", **results):
    entry = dict(seg_map_path=str(path), label_table=LABEL_TABLES[table], **results)
    return LoadLabelIds()(entry)["gt_seg_map"]


def test_indices_of_a_palette_not_its_colours(tmp_path):
    path = palette_file(tmp_path / "a.png")
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 3  # what the trap looks like
    np.testing.assert_array_equal(load(path), [[0, 1, 2], [13, 18, 255]])


def test_class_of_synthia_is_the_first_channel_in_16_bits(tmp_path):
    ids = np.array([[3, 1], [22, 10]], np.uint16)
    instances = np.array([[5000, 0], [1, 65535]], np.uint16)
    path = tmp_path / "synthia.png"
    cv2.imwrite(str(path), np.dstack((np.zeros_like(ids), instances, ids)))  # as BGR
    np.testing.assert_array_equal(load(path, "synthia/cityscapes_19"), [[0, 10], [255, 11]])


def test_grey_16_bits_and_grey_saved_as_colours(tmp_path):
    cv2.imwrite(str(tmp_path / "16.png"), IDS.astype(np.uint16))
    cv2.imwrite(str(tmp_path / "grey.png"), np.dstack([IDS] * 3))
    for name in ("16.png", "grey.png"):
        np.testing.assert_array_equal(load(tmp_path / name), [[0, 1, 2], [13, 18, 255]])


def test_palette_saved_as_colours_is_explained(tmp_path):
    palette = np.array(CLASS_SETS["cityscapes_19"].palette, np.uint8)
    colours = palette[np.arange(12).reshape(3, 4)]
    Image.fromarray(colours).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match=r"colour\.png is a colour image with 12 colours") as error:
        load(tmp_path / "colour.png")
    assert "the colours of 'cityscapes_19'" in str(error.value)
    photo = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    with pytest.raises(ValueError, match="Give the files that hold ids, not pictures"):
        load(tmp_path / "photo.png")


def test_other_files(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), IDS)
    with pytest.raises(ValueError, match="JPEG changes values"):
        decode_label_ids((tmp_path / "a.jpg").read_bytes(), "a.jpg")
    content = palette_file(tmp_path / "a.png").read_bytes()
    for broken in (b"no image", content[: len(content) // 2]):
        with pytest.raises(ValueError, match=r"a\.png is (no readable|a damaged)"):
            decode_label_ids(broken, "a.png")


def test_labels_of_another_size_than_the_image(tmp_path):
    path = palette_file(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is 3x2 pixels, its image b\.png 6x4"):
        load(path, ori_shape=(4, 6), img_path="b.png")


def test_missing_keys_say_what_to_use(tmp_path):
    with pytest.raises(KeyError, match="targets of adaptation have no labels"):
        LoadLabelIds()(dict(label_table=identity(3)))
    with pytest.raises(KeyError, match="no 'label_table'"):
        LoadLabelIds()(dict(seg_map_path="a.png"))


def test_is_found_from_mmseg():
    assert TRANSFORMS.build(dict(type="mmext.LoadLabelIds")).backend_args is None
