"""Two real scans, one of ScanNet and one of SUN RGB-D, through reader, transforms and metric."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS

from mmext.detection3d import IndoorMetric, ScanNetDet3DDataset, SUNRGBDDet3DDataset
from mmext.detection3d.info_files import write_infos
from mmext.ops import points_in_boxes

ROOT = Path(__file__).resolve().parents[2]
SCANS = Path(os.environ.get("MMEXT_SHARED", ROOT.parent / "shared")) / "data" / "indoor3d_2scenes"
pytestmark = pytest.mark.skipif(
    not SCANS.is_dir(), reason=f"the two real scans are not in {SCANS} (set MMEXT_SHARED)"
)
TRANSFORMS = [
    dict(type="mmext.LoadPoints"),
    dict(type="mmext.LoadIndoorAnnotations"),
    dict(type="mmext.GlobalAlign"),
    dict(type="mmext.AssignPointInstances"),
    dict(type="mmext.PointSample", num_points=20000, seed=0),
    dict(type="mmext.PackIndoorInputs"),
]


def build(kind, folder, points, boxes, matrix, out):
    """Write an info file for a scan where it lies, and return the data set's only item."""
    values, classes = np.load(folder / boxes), kind.METAINFO["classes"]
    record = dict(
        scene=points,
        points_path=points,
        num_features=6,
        instance_mask_path=None,
        semantic_mask_path=None,
        axis_align_matrix=matrix,
        boxes=values[:, :7],
        names=[classes[int(label)] for label in values[:, 7]],
    )
    write_infos(out / "info.pkl", [record], classes, "real")
    return kind(
        data_root=str(folder),
        data_prefix=dict(pts=""),
        ann_file=str(out / "info.pkl"),
        pipeline=TRANSFORMS,
    )


@pytest.fixture(params=["scannet", "sunrgbd"])
def dataset(request, tmp_path):
    if request.param == "scannet":
        folder = SCANS / "scannet"
        names = "scene0000_00_points_raw.npy", "scene0000_00_boxes.npy"
        matrix = np.load(folder / "axis_align.npy")
        return build(ScanNetDet3DDataset, folder, *names, matrix, tmp_path)
    names = "000017_points.npy", "000017_boxes.npy"
    return build(SUNRGBDDet3DDataset, SCANS / "sunrgbd", *names, np.eye(4), tmp_path)


def test_boxes_hold_points(dataset):
    item = dataset[0]
    points, truth = item["inputs"]["points"], item["data_samples"].gt_instances_3d
    inside = points_in_boxes(points, truth.bboxes_3d.tensor)
    assert points.shape == (20000, 3)
    assert inside.sum(dim=0).min() > 30
    owner = item["data_samples"].gt_point_instances
    own = owner >= 0
    assert own.equal(inside.any(dim=1))
    assert inside[own, owner[own]].all()
    assert set(owner.unique().tolist()) == {-1, *range(len(truth))}
    floor = points[:, 2].quantile(0.01)
    assert abs(floor - points[:, 2].min()) < 0.5


def test_truth_and_moved_truth_through_the_metric(dataset):
    sample = dataset[0]["data_samples"]
    truth = sample.gt_instances_3d
    figures = []
    for step in (0.0, 0.05, 5.0):
        sample.pred_instances_3d = truth.new(
            bboxes_3d=truth.bboxes_3d.translate((step, 0, 0)),
            labels_3d=truth.labels_3d,
            scores_3d=torch.linspace(1, 0.5, len(truth)),
        )
        metric = IndoorMetric()
        metric.dataset_meta = dataset.metainfo
        metric.process({}, [sample.to_dict()])
        figures.append(metric.compute_metrics(metric.results))
    exact, near, far = figures
    assert exact["mAP_0.25"] == exact["mAP_0.50"] == 1
    assert near["mAP_0.50"] > 0.7
    assert far["mAP_0.25"] < 0.1


def test_through_the_published_models(dataset):
    """Every object gives positive candidates, all losses count, and detections are scored."""
    form = "scannet" if isinstance(dataset, ScanNetDet3DDataset) else "sunrgbd"
    cfg = Config.fromfile(ROOT / "configs" / "group_free3d" / f"group-free3d_l6-o256_{form}.py")
    cfg.model.decoder.num_layers = 1
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    batch = pseudo_collate([dataset[0]])
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    for name in ("seeds", "objectness", "center", "size_residual", "semantic"):
        values = losses[f"loss_{name}"]
        assert all(value > 0 for value in (values if isinstance(values, list) else [values])), name
    model.eval()
    with torch.no_grad():
        samples = model(**model.data_preprocessor(batch), mode="predict")
    assert len(samples[0].pred_instances_3d.scores_3d) > 0
    metric = IndoorMetric()
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [sample.to_dict() for sample in samples])
    figures = metric.compute_metrics(metric.results)
    assert 0 <= figures["mAP_0.50"] <= figures["mAP_0.25"] <= 1
