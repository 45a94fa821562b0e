"""Images of the pool: no label leaks, random numbers are the image's own, positions are kept."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import ConcatDataset
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from tiny_campaign import campaign_config
from torch.utils.data import DataLoader

from mmext.active_learning.data import PoolSource, PoolView, SkippingBatchSampler


@TRANSFORMS.register_module(force=True)
class Witness(BaseTransform):
    """Notes all that augmentation gets to see, and a random number."""

    seen: ClassVar[list[dict]] = []

    def transform(self, results):
        Witness.seen.append(dict(results))
        results["img"] = np.random.randint(0, 256, results["img"].shape, np.uint8)
        return results


@TRANSFORMS.register_module(force=True)
class DropOften(BaseTransform):
    """Gives up on most images, as crops without boxes do."""

    def transform(self, results):
        return None if np.random.rand() < 0.8 else results


@pytest.fixture
def source(pool_data, tmp_path):
    cfg = campaign_config(pool_data, tmp_path)
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline.insert(3, dict(type="Witness"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        Witness.seen = []
        yield PoolSource(DATASETS.build(dataset))


def test_ids_are_paths_relative_to_the_data_root(source):
    assert sorted(source.ids)[:2] == ["images/0.png", "images/1.png"]


def test_augmentation_never_sees_the_boxes_of_unlabelled_images(source):
    view = PoolView(source, source.ids, labeled=False)
    boxes = {tuple(e["bbox"]) for image in source.ids for e in source.info(image)["instances"]}
    assert len(boxes) == 24
    for index in range(len(view)):
        sample = view[index]["data_samples"]
        assert sample.labeled is False
        assert len(sample.gt_instances) == 0
    assert view.get_data_info(0)["instances"] == []
    for results in Witness.seen:
        assert results["instances"] == []
        assert len(results["gt_bboxes"]) == 0
        assert not boxes & {tuple(v) for v in results.values() if isinstance(v, list | tuple)}
        assert not {k for k in results if "seg" in k or "proposal" in k or "text" in k}


def test_labelled_images_have_their_boxes_and_say_so(source):
    sample = PoolView(source, source.ids, with_truth=True)[0]["data_samples"]
    assert sample.labeled is True
    assert len(sample.gt_instances) == 2
    assert sample.truth == source.info(source.ids[0])["instances"]
    assert sample.pool_id == source.ids[0]


def test_random_numbers_belong_to_the_image_and_the_epoch(source):
    """Whatever was drawn before, and by any number of workers."""
    view = PoolView(source, source.ids[:4], repeat=2, seed=3)
    first = [view[index]["inputs"] for index in range(8)]
    np.random.rand(5)
    assert all(torch.equal(view[index]["inputs"], first[index]) for index in (7, 2))
    assert len({int(image.sum()) for image in first}) == 8  # also of both repetitions
    workers = DataLoader(view, batch_size=None, num_workers=1)
    assert all(torch.equal(a["inputs"], b) for a, b in zip(workers, first, strict=True))
    view.set_epoch(1)
    torch.manual_seed(7)
    np.random.seed(7)
    assert not torch.equal(view[0]["inputs"], first[0])
    drawn = torch.rand(1), np.random.rand()  # as if nothing had been loaded
    torch.manual_seed(7)
    np.random.seed(7)
    assert drawn == (torch.rand(1), np.random.rand())


def test_what_the_pipeline_drops_is_replaced_from_the_view_only(pool_data, tmp_path):
    """mmengine's data sets would take any other image of the pool, with its labels."""
    cfg = campaign_config(pool_data, tmp_path).train_dataloader.dataset
    cfg.pipeline.insert(1, dict(type="DropOften"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        view = PoolView(PoolSource(DATASETS.build(cfg)), ["images/3.png", "images/5.png"])
        found = {view[index % 2]["data_samples"].pool_id for index in range(10)}
        assert found == {"images/3.png", "images/5.png"}
        cfg.pipeline.insert(3, dict(type="FilterAnnotations", min_gt_bbox_wh=(99, 99)))
        view = PoolView(PoolSource(DATASETS.build(cfg)), ["images/3.png"])
        with pytest.raises(ValueError, match="dropped 100 images with labels"):
            view[0]


def test_parts_of_a_concatenated_data_set_keep_their_pipelines(pool_data, tmp_path):
    with DefaultScope.overwrite_default_scope("mmdet"):
        parts = []
        for begin, size in ((0, 32), (6, 48)):
            cfg = campaign_config(pool_data, tmp_path).train_dataloader.dataset
            cfg.pipeline[2].scale = (size, size)
            cfg.indices = list(range(begin, begin + 6))
            parts.append(DATASETS.build(cfg))
        source = PoolSource(ConcatDataset(parts))
    assert len(set(source.ids)) == 12
    view = PoolView(source, [source.ids[0], source.ids[11]])
    assert [view[index]["inputs"].shape[-1] for index in range(2)] == [32, 48]


def test_hash_of_annotations(source):
    image = source.ids[0]
    before = source.annotation_hash(image)
    part = source.parts[0]
    info = part.get_data_info(0)
    kept = list(info["instances"])
    for changed in (kept[::-1], kept[:1], [{**kept[0], "bbox_label": 1 - kept[0]["bbox_label"]}]):
        part.get_data_info = lambda index, changed=changed: {**info, "instances": changed}
        same = source.annotation_hash(image) == before
        assert same == (changed == kept[::-1])  # the order says nothing


def test_batches_from_any_position():
    sampler = SkippingBatchSampler(range(7), 2)
    assert len(sampler) == 4
    sampler.skipped = 3
    assert list(sampler) == [[6]]
    assert list(sampler) == [[0, 1], [2, 3], [4, 5], [6]]  # the next epoch is whole
