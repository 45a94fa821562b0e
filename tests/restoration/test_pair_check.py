import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mmext.engine import ConfigError, check_datasets


def check(root, crop=32, **kwargs):
    dataset = dict(
        type="mmext.PairedImageDataset",
        data_root=str(root),
        data_prefix=dict(img="noisy", gt="clean"),
        pipeline=[
            dict(type="mmext.LoadImagePair"),
            dict(type="mmext.PairedRandomCrop", crop_size=crop),
        ],
    )
    cfg = dict(default_scope="mmengine", train_dataloader=dict(dataset=dataset | kwargs))
    check_datasets(Config(cfg), ("train",))


def test_good_pairs_pass(folders):
    check(folders)


def test_missing_partner(folders):
    (folders / "clean" / "5.png").unlink()
    with pytest.raises(
        ConfigError,
        match=r"train_dataloader\.dataset: 1 files of 8 .*clean/5\.png \(the partner of .*noisy/5",
    ):
        check(folders)


def test_missing_image_of_a_list(folders):
    (folders / "list.txt").write_text("1.png\n9.png\n")
    with pytest.raises(ConfigError, match=r"missing: .*noisy/9\.png, .*clean/9\.png"):
        check(folders, ann_file="list.txt")


def test_unequal_sizes(folders):
    cv2.imwrite(str(folders / "clean" / "5.png"), np.zeros((48, 60, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"noisy/5\.png is 64x48 pixels, .*clean/5\.png 60x48"):
        check(folders)


def test_image_smaller_than_the_crop(folders):
    with pytest.raises(
        ConfigError, match=r"0\.png is 64x48 pixels, smaller than the crop of 50x50"
    ):
        check(folders, crop=50)


@pytest.mark.parametrize("content", [b"", b"<html>"])
def test_unreadable_file(folders, content):
    (folders / "clean" / "5.png").write_bytes(content)
    with pytest.raises(ConfigError, match=r"clean/5\.png is no readable image"):
        check(folders)


def test_missing_folder(folders):
    with pytest.raises(ConfigError, match=r"train_dataloader\.dataset: .*none does not exist"):
        check(folders, data_prefix=dict(img="none", gt="clean"))


def test_unpaired(folders):
    (folders / "noisy" / "5.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"noisy/5\.png is no readable image"):
        check(folders, type="mmext.UnpairedImageDataset", data_prefix=dict(img="noisy"))


def test_lmdb(folders):
    lmdb = pytest.importorskip("lmdb", reason="the lmdb package is not installed")
    for kind in ("noisy", "clean"):
        with (
            lmdb.open(str(folders / f"{kind}.lmdb"), map_size=2**24) as db,
            db.begin(write=True) as t,
        ):
            for path in (folders / kind).iterdir():
                t.put(path.stem.encode(), path.read_bytes())
            if kind == "clean":
                t.put(b"5", cv2.imencode(".png", np.zeros((48, 60, 3)))[1].tobytes())
                t.put(b"6", b"<html>")
    prefixes = dict(img="noisy.lmdb", gt="clean.lmdb")
    with pytest.raises(
        ConfigError, match=r"5 in .*noisy\.lmdb is 64x48 pixels, 5 in .*clean\.lmdb 60x48"
    ):
        check(folders, data_prefix=prefixes)
    with lmdb.open(str(folders / "clean.lmdb")) as db, db.begin(write=True) as t:
        t.delete(b"5")
    with pytest.raises(ConfigError, match="1 files of 8"):
        check(folders, data_prefix=prefixes)
    with lmdb.open(str(folders / "noisy.lmdb")) as db, db.begin(write=True) as t:
        t.delete(b"5")
    with pytest.raises(ConfigError, match=r"6 in .*clean\.lmdb is no readable image"):
        check(folders, data_prefix=prefixes)
