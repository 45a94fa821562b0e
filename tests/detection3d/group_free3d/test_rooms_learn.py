"""Both detectors find furniture in rendered rooms that they have not seen, after half a minute."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from mmext.detection3d import IndoorMetric
from mmext.detection3d.structures import Boxes3D
from mmext.embedded import rooms
from mmext.registry import DATASETS, MODELS

pytestmark = pytest.mark.learn
ROOT = Path(__file__).resolve().parents[3]
STEPS, BATCH = 120, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "rooms"
    return rooms.prepare(folder, counts={"train": 96, "val": 24})


def small_config(name, data):
    """Return the small config on fewer points, with one layer and one class: furniture."""
    cfg = Config.fromfile(ROOT / f"configs/{name}_rooms-aligned.py")
    init_default_scope(cfg.default_scope)
    cfg.model.num_classes, cfg.model.decoder.num_layers = 1, 1
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data)
        loader.dataset.pipeline[-2].num_points = 2048
    return cfg


def as_furniture(batch):
    """Let all objects be of the only class."""
    for sample in batch["data_samples"]:
        sample.gt_instances_3d.labels_3d.zero_()
    return batch


def train(cfg):
    model, dataset = MODELS.build(cfg.model), DATASETS.build(cfg.train_dataloader.dataset)
    loader = DataLoader(dataset, BATCH, shuffle=True, drop_last=True, collate_fn=pseudo_collate)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=STEPS, pct_start=0.1
    )
    model.train()
    for _ in range(STEPS // len(loader)):
        for data in loader:
            batch = as_furniture(model.data_preprocessor(data, True))
            optimizer.zero_grad()
            model.parse_losses(model(**batch, mode="loss"))[0].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


def ap(scenes, predict):
    """Return AP@0.25 of furniture, of what ``predict`` finds in a batch of one scene."""
    metric = IndoorMetric(iou_thrs=[0.25])
    metric.dataset_meta = dict(classes=("furniture",))
    for scene in scenes:
        sample = deepcopy(scene["data_samples"][0])
        sample.pred_instances_3d = predict(scene)
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(scenes))["indoor/mAP_0.25"]


def at_random_places(scene):
    """Return the true boxes elsewhere in the room."""
    found = deepcopy(scene["data_samples"][0].gt_instances_3d)
    boxes, points = found.bboxes_3d.tensor.clone(), scene["inputs"][0, :, :2]
    boxes[:, :2] = points[torch.randint(len(points), (len(boxes),))]
    found.bboxes_3d, found.scores_3d = Boxes3D(boxes), torch.rand(len(boxes))
    return found


@pytest.mark.parametrize("name", ["group_free3d/group-free3d", "hyperdet3d/hyperdet3d"])
@torch.no_grad()
def test_finds_furniture_in_other_rooms(name, data):
    cfg = small_config(name, data)
    with torch.enable_grad():
        model = train(cfg)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    scenes = [
        as_furniture(model.data_preprocessor(pseudo_collate([dataset[i]]), False))
        for i in range(len(dataset))
    ]

    def after(stages):
        def predict(scene):
            out = model.run(scene["inputs"])
            return model.detect(out._replace(stages=out.stages[:stages]), scene["inputs"], "last")[
                0
            ]

        return predict

    found, proposals = ap(scenes, after(2)), ap(scenes, after(1))
    chance = sum(ap(scenes, at_random_places) for _ in range(5)) / 5
    assert found > chance + 0.1
    assert found > proposals + 0.02  # what the decoder adds to them
