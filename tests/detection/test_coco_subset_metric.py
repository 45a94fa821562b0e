import json

import numpy as np
import pytest

from mmext.detection.coco_subset_metric import CocoSubsetMetric


def write_coco(path, image_ids):
    coco = dict(
        images=[dict(id=i, width=50, height=50, file_name=f"{i}.png") for i in image_ids],
        annotations=[
            dict(id=i, image_id=i, category_id=1, bbox=[10, 10, 20, 20], area=400, iscrowd=0)
            for i in image_ids
        ],
        categories=[dict(id=1, name="tree")],
    )
    path.write_text(json.dumps(coco))
    return str(path)


def detection(image_id, left):
    prediction = dict(
        img_id=image_id,
        bboxes=np.array([[left, 10.0, left + 20, 30]]),
        scores=np.array([0.9]),
        labels=np.array([0]),
    )
    return dict(img_id=image_id), prediction


def test_each_metric_takes_its_own_images(tmp_path):
    """Images 1 and 2 are found, 11 is not: AP 1 and 0, not a mixture, in either metric."""
    results = [detection(1, 10.0), detection(2, 10.0), detection(11, 31.0)]
    scores = []
    for name, image_ids in (("near", [1, 2]), ("far", [11])):
        metric = CocoSubsetMetric(write_coco(tmp_path / f"{name}.json", image_ids), prefix=name)
        metric.dataset_meta = dict(classes=("tree",))
        scores.append(metric.compute_metrics(list(results))["bbox_mAP"])
    assert scores == [pytest.approx(1.0), pytest.approx(0.0)]
