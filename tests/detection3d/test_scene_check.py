"""The check before training: what it finds, and that it finds nothing wrong with good data."""

import numpy as np
import pytest
from indoor_files import BOXES, write_version1, write_version2
from mmengine.config import Config

from mmext.detection3d import ScanNetDet3DDataset, SUNRGBDDet3DDataset
from mmext.engine.preflight import ConfigError, check_datasets

ALIGN = [dict(type="mmext.LoadPoints"), dict(type="mmext.GlobalAlign")]


def check(root, kind="SUNRGBDDet3DDataset", ann_file="sunrgbd_infos.pkl", **options):
    model = options.pop("model", dict(num_classes=10))
    dataset = dict(type=f"mmext.{kind}", data_root=str(root), ann_file=ann_file, **options)
    cfg = Config(dict(model=model, train_dataloader=dict(dataset=dataset)))
    check_datasets(cfg, ["train"])


def check_scannet(root, **options):
    options = dict(model=dict(num_classes=18), pipeline=ALIGN) | options
    check(root, "ScanNetDet3DDataset", "scannet_infos.pkl", **options)


def test_good_data_passes(tmp_path):
    write_version2(tmp_path / "a")
    check(tmp_path / "a")
    write_version1(tmp_path / "b")
    check_scannet(tmp_path / "b")
    assert issubclass(SUNRGBDDet3DDataset, ScanNetDet3DDataset.__mro__[2])


def test_missing_files(tmp_path):
    write_version2(tmp_path)
    (tmp_path / "points/000002.npy").unlink()
    with pytest.raises(ConfigError, match=r"1 of 2 files are missing: .*000002.npy. Correct"):
        check(tmp_path)
    with pytest.raises(ConfigError, match=r"train_dataloader.dataset: .*gone.pkl does not exist"):
        check(tmp_path, ann_file="gone.pkl")


def test_wrong_number_of_classes(tmp_path):
    write_version2(tmp_path)
    with pytest.raises(ConfigError, match=r"model.head.num_classes is 18, but .* has 10 classes"):
        check(tmp_path, model=dict(head=dict(num_classes=18)))


def test_points_that_were_not_aligned(tmp_path):
    write_version1(tmp_path)
    infos = tmp_path / "scannet_infos.pkl"
    content = infos.read_bytes()
    for name in ("scene0000_00", "scene0001_00"):  # so far away that no box holds a point
        path = tmp_path / f"points/{name}.bin"
        points = np.fromfile(path, np.float32).reshape(-1, 6)
        (points + np.array([9, 0, 0, 0, 0, 0])).astype(np.float32).tofile(path)
    with pytest.raises(ConfigError, match=r"2 of 2 boxes have no point.*add mmext.GlobalAlign"):
        check_scannet(tmp_path, pipeline=[])
    assert infos.read_bytes() == content


@pytest.mark.parametrize(
    ("columns", "signs", "words"),
    [
        ([0, 2, 1], [1, 1, -1], r"y and points up; write \(x, -z, y\)"),
        ([0, 2, 1], [1, -1, 1], r"y points down, .* write \(x, z, -y\)"),
        ([2, 0, 1], [1, 1, 1], r"vertical axis is x; write \(y, z, x\)"),
    ],
)
def test_wrong_order_of_axes(tmp_path, columns, signs, words):
    boxes = BOXES + np.array([3, 4, 0, 0, 0, 0, 0])  # so that they are not around the origin
    write_version2(tmp_path, boxes)
    for path in (tmp_path / "points").iterdir():
        points = np.load(path)
        np.save(path, np.concatenate((points[:, columns] * signs, points[:, 3:]), axis=1))
    with pytest.raises(ConfigError, match=words):
        check(tmp_path)


def test_yaws_of_the_other_sign(tmp_path):
    long = np.array([[1.0, 0, 0.5, 3.0, 0.3, 1.0, 0.7], [-2.0, 1.0, 0.25, 3.0, 0.3, 0.5, -0.8]])
    write_version2(tmp_path, long)
    check(tmp_path)
    points = {path: np.load(path) for path in (tmp_path / "points").iterdir()}
    (tmp_path / "sunrgbd_infos.pkl").unlink()
    for path in points:
        path.unlink()
    (tmp_path / "points").rmdir()
    write_version2(tmp_path, long * (1, 1, 1, 1, 1, 1, -1))
    for path, cloud in points.items():
        np.save(path, cloud)
    with pytest.raises(ConfigError, match=r"turned the other way.*--clockwise"):
        check(tmp_path)


def test_points_with_nan(tmp_path):
    write_version2(tmp_path)
    points = np.load(tmp_path / "points/000001.npy")
    points[0] = np.nan
    np.save(tmp_path / "points/000001.npy", points)
    with pytest.raises(ConfigError, match=r"000001.npy: 1 of 180 points have NaN"):
        check(tmp_path)
