"""MI-AOD's SSD head against its description, and at its real size."""

import numpy as np
import pytest
import ssd_by_the_book as book
import torch
from tiny_miaod import SSD, SSD_SIZES, build, sample, ssd_feats, total, unlabeled, values
from tiny_miaod import with_random_weights as randomised
from torch import Tensor, nn

OBJECTS = [
    (
        [[20.0, 30.0, 90.0, 110.0], [150.0, 60.0, 290.0, 280.0], [10.0, 200.0, 30.0, 221.0]],
        [0, 2, 1],
    ),
    ([[40.0, 40.0, 260.0, 250.0]], [2]),
    ([], []),
]


@pytest.fixture(scope="module")
def head() -> nn.Module:
    return randomised(build(SSD))


@pytest.fixture(scope="module")
def feats() -> list[Tensor]:
    torch.manual_seed(1)
    return ssd_feats(len(OBJECTS))


@pytest.fixture(scope="module")
def outputs(head, feats) -> dict[str, list[list[np.ndarray]]]:
    """(A, channels) of each level of each image, in float64."""
    with torch.no_grad():
        _, boxes = head(feats)
        maps = {p: head.branch_scores(feats, p) for p in ("", "f_2_", "f_mil_")}
    maps["boxes"] = boxes

    def rows(levels: list[Tensor], image: int) -> list[np.ndarray]:
        # Three classes and the background, or four numbers of a box.
        return [level[image].permute(1, 2, 0).reshape(-1, 4).double().numpy() for level in levels]

    return {name: [rows(m, i) for i in range(len(OBJECTS))] for name, m in maps.items()}


def labelled() -> list:
    return [sample(boxes, labels, size=300) for boxes, labels in OBJECTS]


def test_priors(head):
    found = head.prior_generator.grid_priors([(s, s) for s in SSD_SIZES], device="cpu")
    np.testing.assert_allclose(torch.cat(found).numpy(), book.priors(), atol=1e-4)
    assert len(torch.cat(found)) == 8732


def test_losses_of_labelled_images(head, feats, outputs):
    priors = torch.cat(head.prior_generator.grid_priors([(s, s) for s in SSD_SIZES], device="cpu"))
    boxes = priors.double().numpy()
    positives, expected = 0, dict(loss_cls=0.0, loss_bbox=0.0)
    for image, (objects, labels) in enumerate(OBJECTS):
        objects = np.array(objects).reshape(-1, 4)
        assigned = book.assign(boxes, objects)
        chosen = assigned >= 0
        goals = np.full(len(boxes), 3)
        goals[chosen] = np.array(labels, dtype=int)[assigned[chosen]]
        positives += max(chosen.sum(), 1)
        for branch in ("", "f_2_"):
            logits = np.concatenate(outputs[branch][image])
            expected["loss_cls"] += book.classification(logits, goals, 3) / 2
        deltas = np.concatenate(outputs["boxes"][image])
        expected["loss_bbox"] += book.localisation(
            deltas[chosen], boxes[chosen], objects[assigned[chosen]]
        )
    targets = np.array([[1, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    scores = [
        book.instance_scores(*(outputs[b][i] for b in ("f_mil_", "", "f_2_")))
        for i in range(len(OBJECTS))
    ]
    expected = {name: loss / positives for name, loss in expected.items()}
    expected["loss_img_cls"] = book.image_loss(scores, targets)
    head.set_stage("label")
    found = values(head.loss(feats, labelled()))
    assert positives > 10
    assert found.keys() == expected.keys()
    for name, loss in expected.items():
        np.testing.assert_allclose(found[name].item(), loss, rtol=2e-6, err_msg=name)


def test_losses_of_unlabelled_images(head, feats, outputs):
    discrepancy, image_scores, pseudo = 0.0, [], []
    for image in range(len(OBJECTS)):
        mil, first, second = (outputs[b][image] for b in ("f_mil_", "", "f_2_"))
        scores = book.instance_scores(mil, first, second)
        for a, b, w in zip(first, second, scores, strict=True):
            distance = np.abs(np.exp(book.log_softmax(a)) - np.exp(book.log_softmax(b)))
            discrepancy += 0.5 * (distance * w).sum() / 4
        image_scores.append(scores)
        both = (book.sigmoid(np.concatenate(first)) + book.sigmoid(np.concatenate(second))) / 2
        pseudo.append(both.max(0) >= 0.5)
    assert np.any(pseudo, 1).all()
    images = unlabeled(300, len(OBJECTS))
    head.set_stage("min")
    found = values(head.loss(feats, images))
    np.testing.assert_allclose(found["loss_dis_min"].item(), discrepancy, rtol=2e-6)
    expected = book.image_loss(image_scores, np.array(pseudo))
    np.testing.assert_allclose(found["loss_img_cls_pseudo"].item(), expected, rtol=2e-6)
    head.set_stage("max")
    largest = values(head.loss(feats, images))["loss_dis_max"].item()
    # Factor * images * levels / channels.
    np.testing.assert_allclose(largest + discrepancy, 0.5 * len(OBJECTS) * 6 / 4, rtol=1e-6)


@pytest.mark.parametrize("faithful", ["code", "paper"])
def test_uncertainty(feats, outputs, faithful):
    head = randomised(build(SSD, faithful=faithful))
    activate = book.sigmoid if faithful == "code" else lambda z: np.exp(book.log_softmax(z))
    for image in range(len(OBJECTS)):
        first, second = (activate(np.concatenate(outputs[b][image])) for b in ("", "f_2_"))
        anchors = np.sort(((first - second) ** 2).mean(1))[::-1]
        for k in (1, 100, 10000):
            found = head.image_scores(feats, topk=k)[image].item()
            np.testing.assert_allclose(found, anchors[:k].mean(), rtol=2e-6)


def test_step_of_each_stage(head, feats):
    for stage, images in (("label", labelled()), ("min", unlabeled(300, 3)), ("max", labelled())):
        head.zero_grad()
        head.set_stage(stage)
        total(head.loss(feats, images)).backward()
        grads = {n: p.grad for n, p in head.named_parameters() if p.grad is not None}
        assert all(g.isfinite().all() for g in grads.values())
        assert grads["cls_convs.5.0.weight"].any()
        assert grads["reg_convs.0.0.weight"].any() == (stage != "min")


def test_starts_like_the_official_head():
    head = build(SSD)
    head.init_weights()
    for prefix in ("", "f_2_", "f_mil_"):
        (conv,) = head.get_submodule(f"{prefix}cls_convs.2")
        fan = 9 * (conv.in_channels + conv.out_channels)
        assert conv.weight.abs().max() <= (6 / fan) ** 0.5
        assert not conv.bias.any()
    assert not torch.equal(head.cls_convs[0][0].weight, head.f_2_cls_convs[0][0].weight)


def test_predicts(head, feats):
    images = unlabeled(300, len(OBJECTS))
    for image in images:
        image.set_metainfo(dict(scale_factor=(1.0, 1.0)))
    for found in head.predict(feats, images):
        assert found.bboxes.shape == (len(found.scores), 4)
        assert len(found.scores) > 0
