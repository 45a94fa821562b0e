"""Acquisitions: hand-computed cases, naive loops from the definitions, any detector."""

import math

import numpy as np
import pytest
import staged_head  # noqa: F401  (registers the head of these tests)
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from tiny_campaign import campaign_config

from mmext.active_learning.acquisitions import PPAL, MIAODDiscrepancy
from mmext.active_learning.acquisitions.cdal import Contexts, contextual_diversity
from mmext.active_learning.acquisitions.detections import class_distributions
from mmext.active_learning.acquisitions.k_center import core_set, k_medoids
from mmext.active_learning.acquisitions.ppal import class_quality, features_at, image_distances
from mmext.active_learning.data import PoolView
from mmext.active_learning.loss_prediction import ranking_loss
from mmext.active_learning.scoring import Scoring, select_images
from mmext.engine import Runner
from mmext.registry import ACQUISITIONS

EACH = {
    "Random": {},
    "Entropy": {},
    "LeastConfidence": dict(reduce="mean"),
    "Margin": dict(reduce="sum"),
    "MIAODDiscrepancy": dict(topk=20),
    "CoreSet": {},
    "CDAL": {},
    "PPAL": dict(candidate_ratio=1.5, score_thr=0.0),
}

pytestmark = pytest.mark.usefixtures("detection_scope")

# Two boxes on one object, another far away.
BOXES = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 50, 50]])


def distributions(scores, labels, classes=2):
    return class_distributions(
        BOXES[: len(scores)], torch.tensor(scores), torch.tensor(labels), classes
    )


def test_distributions_of_detections():
    """The class of an overlapping box is the rival; what is left over is background."""
    found = distributions([0.6, 0.3, 0.9], [0, 1, 1])
    expected = torch.tensor([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0, 0.9, 0.1]])
    torch.testing.assert_close(found, expected)
    over = distributions([0.8, 0.6, 0.9], [0, 1, 1])[0]  # two sigmoids may come to more than one
    torch.testing.assert_close(over, torch.tensor([0.8 / 1.4, 0.6 / 1.4, 0]))
    same = distributions([0.6, 0.3, 0.9], [0, 0, 1])[1]  # of one class the best counts
    torch.testing.assert_close(same, torch.tensor([0.6, 0, 0.4]))
    assert class_distributions(
        torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), 2
    ).shape == (0, 3)


def test_uncertainties():
    each = distributions([0.6, 0.3, 0.9], [0, 1, 1])
    entropy, confidence, margin = (
        ACQUISITIONS.build(dict(type=f"mmext.{name}")).uncertainty(each)
        for name in ("Entropy", "LeastConfidence", "Margin")
    )
    assert entropy[0] == pytest.approx(-sum(p * math.log(p) for p in (0.6, 0.3, 0.1)))
    assert confidence.tolist() == pytest.approx([0.4, 0.4, 0.1])
    assert margin.tolist() == pytest.approx([0.7, 0.7, 0.2])
    with pytest.raises(ValueError, match="reduce is 'median'"):
        ACQUISITIONS.build(dict(type="mmext.Entropy", reduce="median"))


def test_one_class_has_the_entropy_of_the_score():
    each = distributions([0.3, 0.2, 0.5], [0, 0, 0], classes=1)
    entropy = ACQUISITIONS.build(dict(type="mmext.Entropy")).uncertainty(each)
    assert entropy[2] == pytest.approx(math.log(2))
    assert entropy[0] == pytest.approx(-0.3 * math.log(0.3) - 0.7 * math.log(0.7))


def naive_k_center(distance, count, centers, points):
    """The definition, in loops over everything."""
    chosen = []
    for _ in range(count):
        best, farthest = None, -math.inf
        for index in range(len(points)):
            if index in chosen:
                continue
            others = [*centers, *(points[i] for i in chosen)]
            nearest = min(distance(points[index], other) for other in others)
            if nearest > farthest:
                best, farthest = index, nearest
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("labeled", [1, 7])
def test_core_set_equals_loops(labeled):
    points = torch.randn(40, 6, dtype=torch.float64) + 100  # far from the origin
    centers = torch.randn(labeled, 6, dtype=torch.float64) + 100
    naive = naive_k_center(lambda a, b: (a - b).norm(), 12, centers, points)
    assert core_set(points, centers, 12) == naive


def test_core_set_without_labels_begins_in_the_middle():
    points = torch.randn(30, 4)
    first, *others = core_set(points, points[:0], 8)
    assert first == (points - points.mean(0)).norm(dim=1).argmin()
    naive = naive_k_center(lambda a, b: (a - b).norm(), 7, [points[first]], points)
    assert others == naive
    assert core_set(points[:3], points[:0], 3) == core_set(points[:3], points[:0], 3)
    assert sorted(core_set(points[:3].expand(3, 4) * 0, points[:0], 3)) == [0, 1, 2]  # all equal


def test_contextual_diversity_equals_loops():
    generator = torch.Generator().manual_seed(3)
    mixtures = torch.rand(6, 3, 4, generator=generator)
    mixtures *= torch.rand(6, 3, 1, generator=generator) > 0.4  # some classes are missing
    mixtures = mixtures / mixtures.sum(2, keepdim=True).clamp(min=1e-12)
    found = contextual_diversity(Contexts.stack(mixtures[:4]), Contexts.stack(mixtures))
    for i in range(4):
        for j in range(6):
            expected = 0.0
            for ours, theirs in zip(mixtures[i], mixtures[j], strict=True):
                if ours.sum() > 0 and theirs.sum() > 0:
                    p, q = ((v + 0.01) / 1.04 for v in (ours, theirs))
                    expected += 0.5 * float((p * (p / q).log() + q * (q / p).log()).sum())
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-5)


def test_k_medoids_equals_loops():
    points = np.random.default_rng(1).normal(size=(40, 2))
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    begin = [0, 1, 2, 3]
    medoids = list(begin)
    for _ in range(100):
        owners = [min(range(4), key=lambda c: distances[i, medoids[c]]) for i in range(40)]
        moved = []
        for cluster in range(4):
            members = [i for i in range(40) if owners[i] == cluster]
            moved.append(min(members, key=lambda i: sum(distances[i, j] for j in members)))
        if moved == medoids:
            break
        medoids = moved
    assert k_medoids(torch.from_numpy(distances), begin) == medoids
    assert sorted(k_medoids(torch.zeros(5, 5), [0, 3])) == [0, 3]  # all on one spot


def test_distances_of_images_equal_loops():
    images = []
    for size in (3, 0, 5, 2):
        features = torch.nn.functional.normalize(torch.randn(size, 4), dim=1)
        labels = torch.randint(0, 2, (size,))
        images.append(dict(scores=torch.rand(size), labels=labels, features=features))

    def one_way(ours, theirs):
        total = 0.0
        for score, label, feature in zip(*ours.values(), strict=True):
            same = theirs["features"][theirs["labels"] == label]
            cosine = max((float(feature @ other) for other in same), default=0.0)
            total += float(score) * max(cosine, 0.0)
        return 1 - total / max(float(ours["scores"].sum()), 1e-12)

    found = image_distances(images)
    for i in range(4):
        for j in range(4):
            expected = (one_way(images[i], images[j]) + one_way(images[j], images[i])) / 2
            assert float(found[i, j]) == pytest.approx(0 if i == j else expected, abs=1e-5)


def test_quality_and_weights_of_classes():
    sample = DetDataSample()
    sample.pred_instances = InstanceData(
        bboxes=BOXES, scores=torch.tensor([0.5, 0.9, 0.9]), labels=torch.tensor([0, 1, 1])
    )
    truth = [dict(bbox=[0, 0, 10, 10], bbox_label=0), dict(bbox=[0, 40, 9, 50], bbox_label=1)]
    sample.set_metainfo(dict(truth=truth))
    kept = class_quality(sample, 3, xi=0.6)
    assert kept["objects"].tolist() == [1, 1, 0]
    assert kept["quality"].tolist() == pytest.approx([0.5**0.6, 0, 0])
    weights = PPAL().class_weights(
        [dict(quality=torch.tensor([1.0, 0, 0]), objects=kept["objects"])]
    )
    assert weights.tolist() == pytest.approx([1, 1.2, 1.2])  # no difficulty, all of it, unknown


def test_features_are_looked_up_in_the_middle_of_boxes():
    small, large = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 2, 2)
    small[0, 0, 2, 5], large[0, 1, 0, 1] = 3.0, 5.0  # cells of 8 and of 32 pixels
    boxes = torch.tensor([[40.0, 16, 48, 24], [-48, -80, 144, 112]])
    found = features_at([small, large], boxes, (64, 64))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0], [0, 1]]))


def test_ranking_loss():
    losses = torch.tensor([3.0, 1, 1, 2])
    predicted = torch.tensor([0.5, 0.0, 0.2, 2.5], requires_grad=True)
    loss = ranking_loss(predicted, losses)
    assert float(loss) == pytest.approx(((1 - 0.3) + 0) / 2)
    loss.backward()
    assert predicted.grad.tolist() == [-0.5, 0, 0.5, 0]
    assert float(ranking_loss(predicted[:1], losses[:1])) == 0


@pytest.fixture
def detection_scope():
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


@pytest.fixture(scope="module")
def runner(pool_data, tmp_path_factory) -> Runner:
    """A campaign that has not begun, with an untrained model that finds boxes everywhere."""
    cfg = campaign_config(pool_data, tmp_path_factory.mktemp("selecting"))
    cfg.model.bbox_head.type = "StagedFCOSHead"
    cfg.experiment_name = "selecting"
    runner = Runner.from_cfg(cfg)
    runner.train_loop  # noqa: B018  (builds it)
    runner.model.init_weights()
    return runner


@pytest.mark.parametrize("name", EACH)
def test_selects_from_any_detector(runner, name):
    """The same images at each call and by any batch size, all unlabelled."""
    loop = runner.train_loop
    acquisition = ACQUISITIONS.build(dict(type=f"mmext.{name}", **EACH[name]))
    chosen = [
        select_images(runner, acquisition, loop.source, loop.pool, 3, Scoring(batch_size=size))
        for size in (1, 4)
    ]
    assert chosen[0].images == chosen[1].images
    assert len(set(chosen[0].images)) == 3
    assert set(chosen[0].images) <= set(loop.pool.unlabeled())
    scored = name not in ("Random", "CoreSet", "CDAL")
    assert set(chosen[0].scores) == (set(chosen[0].images) if scored else set())


def test_every_acquisition_is_tested_here():
    ACQUISITIONS.import_from_location()
    assert {*EACH, "LearningLoss"} == set(ACQUISITIONS.module_dict)


def test_looks_at_a_share_of_the_pool(runner):
    loop = runner.train_loop
    asked = []
    acquisition = ACQUISITIONS.build(dict(type="mmext.Entropy"))
    select = acquisition.select

    def note(descriptors, pool, count):
        asked.append(sorted(descriptors))
        return select(descriptors, pool, count)

    acquisition.select = note
    for _ in range(2):
        select_images(runner, acquisition, loop.source, loop.pool, 3, Scoring(subset=0.5))
    assert asked[0] == asked[1]
    assert len(asked[0]) == 4  # of eight


def test_says_which_head_or_model_is_missing(runner):
    model = torch.nn.Module()
    with pytest.raises(TypeError, match="MIAODDiscrepancy asks the bbox_head for image_scores"):
        MIAODDiscrepancy().describe(model, {})
    with pytest.raises(TypeError, match="Wrap it: model=dict"):
        ACQUISITIONS.build(dict(type="mmext.LearningLoss")).describe(model, {})


def test_learning_loss_around_a_detector(runner):
    """Losses of the detector as without it, of each image as alone; the part learns to rank."""
    cfg = runner.cfg.model
    detector = dict(type="mmext.LearningLossDetector", detector=cfg, in_channels=[16] * 2)
    model = MODELS.build(detector)
    model.detector.load_state_dict(runner.model.state_dict())
    loop = runner.train_loop
    view = PoolView(loop.source, loop.pool.labeled())
    batch = dict(
        zip(
            ("inputs", "data_samples"),
            zip(*[tuple(view[i].values()) for i in range(4)], strict=True),
            strict=True,
        )
    )
    data = model.data_preprocessor({k: list(v) for k, v in batch.items()}, True)
    model.detector.bbox_head.set_stage("label")
    losses = model.loss(**{f"batch_{k}": v for k, v in data.items()})
    plain = model.detector.loss(data["inputs"], data["data_samples"])
    for name, value in plain.items():
        torch.testing.assert_close(losses[name], value)
    maps = model.extract_feat(data["inputs"])
    each = model._image_losses(maps, data["inputs"], data["data_samples"])
    for index, loss in enumerate(each):
        image = slice(index, index + 1)
        alone = model.detector.loss(data["inputs"][image], data["data_samples"][image])
        torch.testing.assert_close(loss, sum(alone.values()))
    losses["loss_prediction"].backward()
    assert all(p.grad is not None for p in model.loss_prediction.parameters())
    assert model.detector.backbone.conv1.weight.grad.abs().sum() > 0
    chosen = select_images_with(runner, model)
    assert len(chosen.images) == 3


def select_images_with(runner: Runner, model: torch.nn.Module):
    loop, kept = runner.train_loop, runner.model
    runner.model = model
    try:
        acquisition = ACQUISITIONS.build(dict(type="mmext.LearningLoss"))
        return select_images(runner, acquisition, loop.source, loop.pool, 3, Scoring())
    finally:
        runner.model = kept
