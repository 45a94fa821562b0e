from itertools import permutations

import cv2
import numpy as np
import pytest
import torch

from mmext.registry import TRANSFORMS
from mmext.restoration.image_io import ImageError


def build(name, **kwargs):
    return TRANSFORMS.build(dict(type=f"mmext.{name}", **kwargs))


@pytest.fixture
def loaded():
    """A pair whose pixels hold their own places."""
    place = np.stack(np.mgrid[:20, :30], axis=2).astype(np.uint8)
    image = np.concatenate([place, place[..., :1]], axis=2)
    return dict(img=image, gt=image + 100, img_path="a.png")


def test_load_reads_both(folders):
    results = dict(img_path=str(folders / "noisy" / "3.png"), gt_path=str(folders / "clean/3.png"))
    results = build("LoadImagePair")(results)
    np.testing.assert_array_equal(results["img"], cv2.imread(results["img_path"]))
    np.testing.assert_array_equal(results["gt"], cv2.imread(results["gt_path"]))
    assert results["ori_shape"] == (48, 64)


def test_load_appends_views(folders):
    results = dict(
        img_path=str(folders / "noisy" / "3.png"),
        view_paths=[str(folders / "noisy" / "4.png")],
        view_backend_args=[None],
    )
    image = build("LoadImagePair")(results)["img"]
    assert image.shape == (48, 64, 6)
    np.testing.assert_array_equal(image[..., 3:], cv2.imread(results["view_paths"][0]))


def test_load_keeps_16_bits_and_widens_grey(tmp_path):
    image = np.random.default_rng(0).integers(0, 65536, (8, 9), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    loaded = build("LoadImagePair")(dict(img_path=str(tmp_path / "a.png")))["img"]
    assert loaded.dtype == np.uint16
    np.testing.assert_array_equal(loaded, np.repeat(image[..., None], 3, axis=2))


def test_load_refuses_unequal_sizes_and_missing_files(folders):
    cv2.imwrite(str(folders / "clean" / "3.png"), np.zeros((48, 63, 3), np.uint8))
    paths = dict(img_path=str(folders / "noisy" / "3.png"), gt_path=str(folders / "clean/3.png"))
    with pytest.raises(ImageError, match=r"clean/3\.png is 63x48 pixels, .*noisy/3\.png 64x48"):
        build("LoadImagePair")(paths)
    with pytest.raises(ImageError, match=r"none\.png cannot be read.*data_prefix"):
        build("LoadImagePair")(dict(img_path=str(folders / "none.png")))


def test_random_crop_is_the_same_for_both_and_reaches_every_place(loaded):
    crop = build("PairedRandomCrop", crop_size=(18, 29))
    corners = set()
    for _ in range(100):
        results = crop(dict(loaded))
        assert results["img"].shape == (18, 29, 3)
        np.testing.assert_array_equal(results["gt"], results["img"] + 100)
        corners.add(tuple(results["img"][0, 0, :2].tolist()))
    assert corners == {(top, left) for top in range(3) for left in range(2)}


def test_center_crop(loaded):
    results = build("PairedCenterCrop", crop_size=10)(loaded)
    assert results["img"][0, 0, :2].tolist() == [5, 10]
    np.testing.assert_array_equal(results["gt"], results["img"] + 100)


@pytest.mark.parametrize("name", ["PairedRandomCrop", "PairedCenterCrop"])
def test_image_smaller_than_the_crop_is_named(name, loaded):
    with pytest.raises(ImageError, match=rf"a\.png is 30x20 pixels.*crop of 24x24.*{name}"):
        build(name, crop_size=24)(loaded)


def test_dihedral_has_eight_ways_and_keeps_the_pair(loaded):
    loaded = {key: value[:20, :20] for key, value in loaded.items() if key != "img_path"}
    turn, seen = build("RandomDihedral"), {}
    for _ in range(200):
        results = turn(dict(loaded))
        np.testing.assert_array_equal(results["gt"], results["img"] + 100)
        corner, right = (tuple(results["img"][0, x, :2].tolist()) for x in (0, -1))
        seen[corner, right] = seen.get((corner, right), 0) + 1
    assert len(seen) == 8
    assert min(seen.values()) > 8


def test_channel_order_keeps_the_pair_and_its_views(loaded):
    image = loaded["img"].copy()
    image[..., 2] = 40
    loaded = dict(img=np.concatenate([image, image + 50], 2), gt=image + 100)
    reorder, seen = build("RandomChannelOrder"), set()
    for _ in range(100):
        results = reorder(dict(loaded))
        first, second = np.split(results["img"], 2, 2)
        np.testing.assert_array_equal(results["gt"], first + 100)
        np.testing.assert_array_equal(second, first + 50)
        seen.add(tuple(first[3, 7].tolist()))
    assert seen == set(permutations(image[3, 7].tolist()))


def test_pack_keeps_dtype_and_meta(loaded):
    loaded["img"] = loaded["img"].astype(np.uint16)
    packed = build("PackRestorationInputs")(loaded | dict(ori_shape=(20, 30)))
    assert packed["inputs"].dtype == torch.uint16
    assert packed["inputs"].shape == (3, 20, 30)
    sample = packed["data_samples"]
    assert sample.gt_img.dtype == torch.uint8
    assert (sample.img_path, sample.ori_shape) == ("a.png", (20, 30))
    del loaded["gt"]
    assert "gt_img" not in build("PackRestorationInputs")(loaded)["data_samples"]
