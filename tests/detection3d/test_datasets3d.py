"""Data sets: each form of the files gives the same scenes; what is wrong with them is said."""

import os
import pickle
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from indoor_files import (
    BOXES,
    MATRIX,
    cloud,
    write_version1,
    write_version2,
    write_votenet_scannet,
    write_votenet_sunrgbd,
)

from mmext.detection3d import (
    IndoorDet3DDataset,
    InfoError,
    ScanNetDet3DDataset,
    SUNRGBDDet3DDataset,
)
from mmext.detection3d.info_files import read_infos, write_infos
from mmext.detection3d.point_files import read_mask, read_points

ALIGNED = BOXES * (1, 1, 1, 1, 1, 1, 0)
SUN_LABELS, SCANNET_LABELS = [3, 0], [2, 1]


def test_version1(tmp_path):
    path = write_version1(tmp_path)
    data = ScanNetDet3DDataset(data_root=str(tmp_path), ann_file=path.name, pipeline=[])
    scene, empty = data[0], data[1]
    np.testing.assert_allclose(scene["boxes"], ALIGNED, rtol=1e-6)
    assert scene["labels"].tolist() == SCANNET_LABELS
    np.testing.assert_allclose(scene["axis_align_matrix"], MATRIX)
    assert scene["points_path"] == str(tmp_path / "points/scene0000_00.bin")
    assert scene["instance_mask_path"] == str(tmp_path / "instance_mask/scene0000_00.bin")
    assert scene["scene"] == "scene0000_00"
    assert empty["boxes"].shape == (0, 7)
    assert empty["labels"].dtype == np.int64


def test_version2(tmp_path):
    path = write_version2(tmp_path)
    data = SUNRGBDDet3DDataset(data_root=str(tmp_path), ann_file=path.name, pipeline=[])
    np.testing.assert_allclose(data[0]["boxes"], BOXES, rtol=1e-6)
    assert data[0]["labels"].tolist() == SUN_LABELS
    assert data[0]["points_path"] == str(tmp_path / "points/000001.npy")
    assert data[0]["axis_align_matrix"] is None
    assert len(data) == 2


def test_votenet_files_are_the_same_scenes(tmp_path):
    write_votenet_scannet(tmp_path / "scannet")
    write_votenet_sunrgbd(tmp_path / "sunrgbd")
    scannet = ScanNetDet3DDataset(
        data_root=str(tmp_path), data_prefix=dict(pts="scannet"), pipeline=[]
    )[0]
    np.testing.assert_allclose(scannet["boxes"], ALIGNED, rtol=1e-6)
    assert scannet["labels"].tolist() == SCANNET_LABELS
    assert scannet["semantic_mask_path"].endswith("scannet/scene0000_00_sem_label.npy")
    sunrgbd = SUNRGBDDet3DDataset(data_root=str(tmp_path), data_prefix=dict(pts="sunrgbd"))[0]
    np.testing.assert_allclose(sunrgbd["boxes"], BOXES, rtol=1e-6)
    assert sunrgbd["labels"].tolist() == SUN_LABELS
    (tmp_path / "train.txt").write_text("000001\n")
    listed = SUNRGBDDet3DDataset(
        data_root=str(tmp_path), data_prefix=dict(pts="sunrgbd"), ann_file="train.txt"
    )
    assert len(listed) == 1


def test_some_of_the_classes(tmp_path):
    path = write_version1(tmp_path)
    data = ScanNetDet3DDataset(
        data_root=str(tmp_path), ann_file=path.name, metainfo=dict(classes=("bed", "sofa"))
    )
    assert data[0]["labels"].tolist() == [0]
    assert data[0]["semantic_ids"].tolist() == [4, 6]
    own = IndoorDet3DDataset(
        data_root=str(tmp_path), ann_file=path.name, metainfo=dict(classes=("chair", "bed"))
    )
    assert own[0]["semantic_ids"].tolist() == [0, 1]
    with pytest.raises(InfoError, match=r"does not name its classes.*metainfo=dict\(classes"):
        IndoorDet3DDataset(data_root=str(tmp_path), ann_file=path.name)


def test_classes_come_from_the_file(tmp_path):
    path = write_version2(tmp_path)
    data = IndoorDet3DDataset(data_root=str(tmp_path), ann_file=path.name)
    assert data.metainfo["classes"][:2] == ("bed", "table")
    assert len(data.metainfo["classes"]) == 10


def test_scenes_without_objects_may_be_left_out_of_training(tmp_path):
    path = write_version2(tmp_path)
    options = dict(data_root=str(tmp_path), ann_file=path.name, filter_cfg=dict(filter_empty_gt=1))
    assert len(IndoorDet3DDataset(**options)) == 1
    assert len(IndoorDet3DDataset(**options, test_mode=True)) == 2


def test_boxes_without_volume_are_an_error_or_left_out(tmp_path):
    flat = BOXES.copy()
    flat[1, 5] = 0
    path = write_version2(tmp_path, flat)
    options = dict(data_root=str(tmp_path), ann_file=path.name)
    with pytest.raises(InfoError, match=r"000001: box 1 \(bed\) has the sizes .*drop_flat_boxes"):
        IndoorDet3DDataset(**options)
    data = IndoorDet3DDataset(**options, filter_cfg=dict(drop_flat_boxes=True))
    assert len(data[0]["boxes"]) == 1


def test_what_is_written_is_read_again(tmp_path):
    path = write_version1(tmp_path)
    found = read_infos(str(path))
    assert found.version == 1
    write_infos(tmp_path / "new.pkl", found.records, ["bed", "chair"], "scannet")
    again = read_infos(str(tmp_path / "new.pkl"))
    assert again.version == 2
    assert again.classes == ["bed", "chair"]
    for old, new in zip(found.records, again.records, strict=True):
        assert old["names"] == new["names"]
        np.testing.assert_array_equal(old["boxes"], new["boxes"])
        np.testing.assert_array_equal(old["axis_align_matrix"], new["axis_align_matrix"])
    with pytest.raises(InfoError, match=r"scene0000_00 has objects of \['chair'\]"):
        write_infos(tmp_path / "new.pkl", found.records, ["bed"], "scannet")


class Evil:
    def __reduce__(self):
        return os.system, ("echo run",)


def test_info_files_run_nothing(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(InfoError, match=r"no info file of plain arrays.*system"):
        read_infos(str(path))


def change_pickle(path, change):
    content = pickle.loads(path.read_bytes())
    change(content)
    path.write_bytes(pickle.dumps(content))


def test_missing_keys_are_named(tmp_path):
    first = write_version1(tmp_path / "a")
    change_pickle(first, lambda infos: infos[1].pop("pts_path"))
    with pytest.raises(InfoError, match=r"scannet_infos.pkl\[1\] has no 'pts_path'.*indoor3d.py"):
        read_infos(str(first))
    second = write_version2(tmp_path / "b")
    change_pickle(second, lambda c: c["data_list"][0]["instances"][1].pop("bbox_3d"))
    with pytest.raises(InfoError, match=r"data_list\[0\].instances\[1\] has no 'bbox_3d'"):
        read_infos(str(second))
    third = write_version2(tmp_path / "c")
    change_pickle(third, lambda c: c["metainfo"].pop("categories"))
    with pytest.raises(InfoError, match=r"bbox_label_3d is 3, but the file's metainfo names 0"):
        read_infos(str(third))
    with pytest.raises(FileNotFoundError, match=r"none.pkl does not exist"):
        read_infos(str(tmp_path / "none.pkl"))
    (tmp_path / "text.pkl").write_text("hello")
    with pytest.raises(InfoError, match=r"text.pkl is no info file"):
        read_infos(str(tmp_path / "text.pkl"))
    with pytest.raises(InfoError, match=r"axis_align_matrix has shape \(3, 3\)"):
        read_infos(str(write_version2(tmp_path / "d", axis_align_matrix=np.eye(3).tolist())))


def test_wrong_votenet_files(tmp_path):
    write_votenet_sunrgbd(tmp_path / "sunrgbd")
    options = dict(data_root=str(tmp_path), data_prefix=dict(pts="sunrgbd"))
    np.save(tmp_path / "sunrgbd/000001_bbox.npy", np.zeros((2, 7)))
    with pytest.raises(InfoError, match=r"000001_bbox.npy has shape \(2, 7\).*\(G, 8\)"):
        SUNRGBDDet3DDataset(**options)
    with pytest.raises(FileNotFoundError, match=r"missing.txt does not exist"):
        SUNRGBDDet3DDataset(**options, ann_file="missing.txt")
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        SUNRGBDDet3DDataset(data_root=str(tmp_path), data_prefix=dict(pts="nowhere"))
    with pytest.raises(ValueError, match=r"data_prefix has \['img'\]"):
        SUNRGBDDet3DDataset(data_root=str(tmp_path), data_prefix=dict(img=""))


def test_point_files(tmp_path):
    points, owner = cloud()
    points.tofile(tmp_path / "a.bin")
    np.save(tmp_path / "a.npy", points.astype(np.float64))
    np.savez(tmp_path / "a.npz", pc=points)
    for name in ("a.bin", "a.npy", "a.npz"):
        found = read_points(str(tmp_path / name), 6)
        np.testing.assert_array_equal(found, points)
        assert found.dtype == np.float32
    with pytest.raises(InfoError, match=r"holds 1080 numbers, no multiple of num_features 7"):
        read_points(str(tmp_path / "a.bin"), 7)
    np.save(tmp_path / "mask.npy", owner[:-1])
    with pytest.raises(InfoError, match=r"mask.npy has 179 entries for 180 points"):
        read_mask(str(tmp_path / "mask.npy"), 180)
    points[3, 1] = np.nan
    np.save(tmp_path / "nan.npy", points)
    with pytest.raises(InfoError, match=r"nan.npy: 1 of 180 points have NaN"):
        read_points(str(tmp_path / "nan.npy"), 6)
    np.save(tmp_path / "empty.npy", points[:0])
    with pytest.raises(InfoError, match=r"empty.npy has no points"):
        read_points(str(tmp_path / "empty.npy"), 6)
    np.save(tmp_path / "flat.npy", points[:, 0])
    with pytest.raises(InfoError, match=r"flat.npy has shape \(180,\)"):
        read_points(str(tmp_path / "flat.npy"), 6)
    with pytest.raises(InfoError, match=r"gone.bin does not exist"):
        read_points(str(tmp_path / "gone.bin"), 6)
    (tmp_path / "broken.npy").write_bytes(b"no array")
    with pytest.raises(InfoError, match=r"broken.npy cannot be read"):
        read_points(str(tmp_path / "broken.npy"), 6)


def convert(monkeypatch, *args):
    tool = Path(__file__).resolve().parents[2] / "tools/dataset_converters/indoor3d.py"
    monkeypatch.setattr(sys, "argv", [tool.name, *map(str, args)])
    runpy.run_path(str(tool), run_name="__main__")


def test_converter(tmp_path, monkeypatch, capsys):
    write_votenet_scannet(tmp_path / "scannet")
    convert(monkeypatch, "scannet", tmp_path / "scannet", tmp_path / "scannet.pkl")
    printed = capsys.readouterr().out
    assert "read 1 of 1 scenes" in printed
    assert "1 scenes, 2 boxes" in printed
    prefix = dict.fromkeys(("pts", "pts_instance_mask", "pts_semantic_mask"), "scannet")
    data = ScanNetDet3DDataset(data_root=str(tmp_path), data_prefix=prefix, ann_file="scannet.pkl")
    np.testing.assert_allclose(data[0]["boxes"], ALIGNED, rtol=1e-6)
    assert Path(data[0]["points_path"]).is_file()
    assert Path(data[0]["instance_mask_path"]).is_file()

    old = write_version2(tmp_path / "old", BOXES * (1, 1, 1, 1, 1, 1, -1))
    convert(monkeypatch, "sunrgbd", old, tmp_path / "new.pkl", "--clockwise")
    np.testing.assert_allclose(read_infos(str(tmp_path / "new.pkl")).records[0]["boxes"], BOXES)

    version1 = write_version1(tmp_path / "version1")
    convert(monkeypatch, "scannet", version1, tmp_path / "version1" / "new.pkl")
    data = ScanNetDet3DDataset(data_root=str(tmp_path / "version1"), ann_file="new.pkl")
    assert Path(data[0]["points_path"]).is_file()
    shutil.rmtree(tmp_path / "version1")
    with pytest.raises(SystemExit, match=r"indoor3d: .*does not exist"):
        convert(monkeypatch, "scannet", version1, tmp_path / "new.pkl")
