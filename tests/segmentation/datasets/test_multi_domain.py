"""Several domains as one data set: pairing, order, resuming, and labels that stay unseen."""

import builtins
import itertools
import os

import mmengine.fileio
import numpy as np
import pytest
from mmengine.registry import DATASETS
from tiny_segmentation import CLASSES, LABELS, LOAD, PACK, domain

from mmext.engine import ConfigError, check_datasets
from mmext.segmentation.datasets import MultiDomainSampler
from mmext.segmentation.datasets.rare_classes import Draw, class_probabilities


def build(domains, **changes):
    options = dict(
        type="mmext.MultiDomainDataset",
        sources=dict(red=domain(domains, "red", [LOAD, LABELS, PACK])),
        targets=dict(blue=domain(domains, "blue", [LOAD, PACK])),
    )
    return DATASETS.build({**options, **changes})


def test_an_item_is_an_image_of_each_domain(domains):
    dataset = build(domains)
    assert len(dataset) == 8
    item = dataset[(3, 5)]
    for name, index, role in (("red", 3, "source"), ("blue", 5, "target")):
        sample = item["data_samples"][name]
        assert sample.img_path.endswith(f"{name}/images/{index}.png")
        assert (sample.domain, sample.role) == (name, role)
        assert item["inputs"][name].shape == (3, 32, 64)
    assert "gt_sem_seg" in item["data_samples"]["red"]
    assert "gt_sem_seg" not in item["data_samples"]["blue"]
    assert dataset[9]["data_samples"]["red"].img_path.endswith("1.png")
    assert dataset.metainfo["classes"] == CLASSES


def test_labels_of_targets_are_never_opened_nor_named(domains, monkeypatch):
    """Every way in which a file is opened here is watched."""
    opened = []
    real_open, real_get, real_listdir = builtins.open, mmengine.fileio.get, os.scandir

    def watch(function):
        def watched(path, *args, **kwargs):
            opened.append(str(path))
            return function(path, *args, **kwargs)

        return watched

    monkeypatch.setattr(builtins, "open", watch(real_open))
    monkeypatch.setattr("io.open", watch(real_open))
    monkeypatch.setattr(mmengine.fileio, "get", watch(real_get))
    monkeypatch.setattr(os, "scandir", watch(real_listdir))
    dataset = build(domains)
    samples = [dataset[(i, i)]["data_samples"] for i in range(8)]
    assert any("red/labels" in path for path in opened)
    assert any("blue/images" in path for path in opened)
    assert not [path for path in opened if "blue/labels" in path]
    assert "seg_map_path" in samples[0]["red"].metainfo
    assert all("seg_map_path" not in sample["blue"].metainfo for sample in samples)
    assert "blue/labels" not in str(vars(dataset.targets["blue"].images))


def test_training_works_where_labels_of_the_target_are_garbage(domains):
    for path in (domains / "blue" / "labels").iterdir():
        path.write_bytes(b"no image")
    assert build(domains)[0]["inputs"]["blue"].shape == (3, 32, 64)


@pytest.mark.parametrize("loader", [LABELS, dict(type="LoadAnnotations")])
def test_pipelines_that_load_labels_of_targets_are_refused(domains, loader):
    target = domain(domains, "blue", [LOAD, loader, PACK])
    with pytest.raises(ValueError, match=r"targets\.blue\.pipeline has Load.*PseudoLabelDataset"):
        build(domains, targets=dict(blue=target))


def test_a_smuggled_label_is_refused(domains):
    smuggler = dict(type="SmuggleLabels")
    from mmseg.registry import TRANSFORMS

    @TRANSFORMS.register_module(force=True)
    class SmuggleLabels:
        def __call__(self, results):
            results["gt_seg_map"] = np.zeros(results["img"].shape[:2], np.uint8)
            return results

    dataset = build(domains, targets=dict(blue=domain(domains, "blue", [LOAD, smuggler, PACK])))
    with pytest.raises(ValueError, match=r"has loaded labels for .*blue/images/0\.png"):
        dataset[0]


def test_pseudo_labels_are_the_exception_and_say_so(domains, tmp_path):
    folder = tmp_path / "pseudo"
    target = domain(domains, "blue", [LOAD, LABELS, PACK])
    pseudo = dict(type="mmext.PseudoLabelDataset", dataset=target, label_dir=str(folder))
    with pytest.raises(FileNotFoundError, match="8 of 8 images have no pseudo label"):
        build(domains, targets=dict(blue=pseudo))
    from mmext.segmentation.datasets.files import write_png

    for index in range(8):
        write_png(folder / f"{index}.png", np.full((32, 64), index % 3, np.uint8))
    sample = build(domains, targets=dict(blue=pseudo))[(0, 5)]["data_samples"]["blue"]
    assert (sample.gt_sem_seg.data == 2).all()
    assert (sample.label_source, sample.role) == ("pseudo", "target")


def test_domains_need_equal_classes_and_different_names(domains):
    other = domain(domains, "blue", [LOAD, PACK]) | dict(metainfo=dict(classes=("a", "b")))
    with pytest.raises(ValueError, match="Expected the same for all domains: set class_set"):
        build(domains, targets=dict(blue=other))
    red = domain(domains, "red", [LOAD, PACK])
    with pytest.raises(ValueError, match="at least one source, and different names"):
        build(domains, targets=dict(red=red))
    with pytest.raises(TypeError, match="label files can be left out of sight"):
        build(domains, targets=dict(blue=dict(type="mmengine.ConcatDataset", datasets=[red])))


def take(sampler, count):
    return list(itertools.islice(iter(sampler), count))


def test_an_empty_folder_of_a_target_is_named(domains, config):
    for path in (domains / "blue" / "images").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"no image found: .*blue/images names none"):
        build(domains)
    with pytest.raises(ConfigError, match=r"^train_dataloader\.dataset\.targets\.blue: no image"):
        check_datasets(config, ("train",))


def test_each_domain_is_gone_through_in_its_own_order(domains):
    for path in list((domains / "blue" / "images").iterdir())[:3]:
        path.unlink()
    sampler = MultiDomainSampler(build(domains), seed=1)
    drawn = take(sampler, 40)
    assert len(sampler) == 8
    for number, size in ((0, 8), (1, 5)):
        stream = [item[number] for item in drawn]
        rounds = [stream[i : i + size] for i in range(0, 40, size)]
        assert all(sorted(part) == list(range(size)) for part in rounds)
        assert len(set(map(tuple, rounds))) > 1
    assert take(MultiDomainSampler(build(domains), seed=1), 40) == drawn
    assert take(MultiDomainSampler(build(domains), seed=2), 40) != drawn


def test_resuming_and_ranks_continue_the_same_stream(domains, monkeypatch):
    dataset = build(domains)
    whole = take(MultiDomainSampler(dataset, seed=0), 20)
    resumed = MultiDomainSampler(dataset, seed=0)
    resumed.skip(7)
    assert take(resumed, 13) == whole[7:]
    for rank in range(2):
        monkeypatch.setattr(
            "mmext.segmentation.datasets.multi_domain.get_dist_info", lambda rank=rank: (rank, 2)
        )
        assert take(MultiDomainSampler(dataset, seed=0), 10) == whole[rank::2]
        resumed = MultiDomainSampler(dataset, seed=0)
        resumed.skip(3)
        assert take(resumed, 7) == whole[rank::2][3:]


def test_class_probabilities():
    pixels = np.array([900, 100, 0])
    found = class_probabilities(pixels, 0.1)
    weight = np.exp([0.1 / 0.1, 0.9 / 0.1])
    np.testing.assert_allclose(found, [*weight / weight.sum(), 0])
    np.testing.assert_allclose(class_probabilities(pixels, 1e6), [0.5, 0.5, 0], atol=1e-5)


def test_rare_classes_are_drawn_more_often(domains, tmp_path):
    """In two of eight images there is a block; it is drawn for most items."""
    for index in range(2, 8):
        path = str(domains / "red" / "labels" / f"{index}.png")
        import cv2

        labels = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        labels[labels == 1] = 0
        cv2.imwrite(path, labels)
    file = tmp_path / "counts.npz"
    options = dict(statistics=str(file), temperature=0.05, min_pixels=50)
    dataset = build(domains, rare_class_sampling=dict(red=options))
    drawn = take(MultiDomainSampler(dataset, seed=0), 200)
    assert all(isinstance(item[0], Draw) for item in drawn)
    share = np.mean([item[0].index < 2 for item in drawn])
    assert share > 0.9
    item = dataset[drawn[0]]
    assert (item["data_samples"]["red"].gt_sem_seg.data == drawn[0][0].rare_class).sum() > 25
    # The counts are kept, and counting goes on where it was stopped.
    with np.load(file) as stored:
        counts = stored["counts"]
    assert counts.sum() == 8 * 32 * 64
    partial = counts.copy()
    partial[5:] = -1
    np.savez(file, counts=partial)
    build(domains, rare_class_sampling=dict(red=options))
    with np.load(file) as stored:
        np.testing.assert_array_equal(stored["counts"], counts)
    np.savez(file, counts=counts[:4])
    with pytest.raises(ValueError, match="Remove the file"):
        build(domains, rare_class_sampling=dict(red=options))
    with pytest.raises(ValueError, match=r"rare_class_sampling has \['green'\]"):
        build(domains, rare_class_sampling=dict(green=options))


def test_domains_one_after_the_other(domains):
    both = {name: domain(domains, name, [LOAD, LABELS, PACK]) for name in ("red", "blue")}
    dataset = DATASETS.build(dict(type="mmext.DomainConcatDataset", datasets=both))
    assert len(dataset) == 16
    for index, name, file in ((0, "red", 0), (7, "red", 7), (8, "blue", 0), (15, "blue", 7)):
        sample = dataset[index]["data_samples"]
        assert sample.domain == name
        assert sample.img_path.endswith(f"{name}/images/{file}.png")
