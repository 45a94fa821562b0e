"""Result files of indoor detectors: written from a test's predictions, read and scored again."""

import pickle

import numpy as np
import pytest
import torch

from mmext.detection3d import SUNRGBDDet3DDataset
from mmext.detection3d.info_files import write_infos
from mmext.detection3d.structures import Boxes3D
from mmext.leaderboards.indoor3d import CLASSES, evaluate, write_results

BOXES = np.array([[1.0, 0, 0.5, 1.0, 0.6, 1.0, 0.4], [-1.0, 1.0, 0.25, 2.0, 1.0, 0.5, -1.2]])


def test_written_and_scored(tmp_path):
    classes = CLASSES["sunrgbd"]
    records = [
        dict(
            scene=name, points_path=f"{name}.bin", num_features=6, instance_mask_path=None,
            semantic_mask_path=None, axis_align_matrix=None, boxes=BOXES, names=["chair", "bed"],
        )
        for name in ("000001", "000002")
    ]  # fmt: skip
    write_infos(tmp_path / "info.pkl", records, classes, "sunrgbd")
    dataset = SUNRGBDDet3DDataset(ann_file=str(tmp_path / "info.pkl"), pipeline=[])
    found = dict(
        bboxes_3d=Boxes3D(BOXES), labels_3d=torch.tensor([3, 0]), scores_3d=torch.tensor([0.9, 0.8])
    )
    nothing = dict(
        bboxes_3d=Boxes3D([]), labels_3d=torch.zeros(0, dtype=torch.long), scores_3d=torch.zeros(0)
    )
    samples = [
        dict(sample_idx="000001", pred_instances_3d=found),
        dict(sample_idx="000002", pred_instances_3d=nothing),
    ]
    (tmp_path / "test.pkl").write_bytes(pickle.dumps(samples))
    files = write_results(tmp_path / "test.pkl", tmp_path / "results", classes)
    assert [file.name for file in files] == ["000001.txt", "000002.txt"]
    table = evaluate(tmp_path / "results", dataset)
    np.testing.assert_allclose(table.means()[0], 0.5)
    np.testing.assert_allclose(table.means()[1], 0.5)
    files[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"000002.txt does not exist.*file for each scene"):
        evaluate(tmp_path / "results", dataset)
