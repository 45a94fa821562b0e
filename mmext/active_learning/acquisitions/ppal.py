"""PPAL: first the images of uncertain hard classes, of these the most different ones."""

import math
from collections.abc import Mapping, Sequence

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor, nn
from torch.nn.functional import grid_sample, normalize

from mmext.registry import ACQUISITIONS

from ..pool import Pool, top_scoring
from .base import Acquisition, Descriptors, Selection, candidates
from .detections import detect, number_of_classes
from .features import captured_features
from .k_center import k_center_greedy, k_medoids

_CHUNK = 2048
# A box is looked up on the map whose cells are an eighth of its size, as with RetinaNet's anchors.
_CELLS = 8


@ACQUISITIONS.register_module()
class PPAL(Acquisition):
    """Difficulty calibrated uncertainty (DCUS), then category conditioned matching (CCMS).

    DCUS sums the entropies of the scores of an image's detections, weighted by how hard their class
    is, and keeps ``candidate_ratio`` times the budget. CCMS chooses the budget among these by
    k-centre greedy and k-medoids; the distance of two images is how little their detections
    resemble the nearest of the same class in the other.

    Args:
        xi: Exponent of the score in the quality ``score^xi * IoU^(1 - xi)`` of a detection.
        alpha: Steepness of the weight over the difficulty.
        upper: How much more the hardest class counts than one without difficulty.
        score_thr: Detections below count nowhere.
        candidate_ratio: Images that DCUS keeps, by budget.

    Source: PPAL (Yang et al., CVPR 2024, arXiv 2211.11612), sections 3.2 and 3.3, and the
    constants of the official code. There the quality of a class is a moving average over the
    positive predictions of the training; here that of the best detection of each labelled object,
    measured when images are selected, so that any detector will do and nothing is lost on resume.
    """

    needs_labeled = True

    def __init__(
        self,
        *,
        xi: float = 0.6,
        alpha: float = 0.3,
        upper: float = 0.2,
        score_thr: float = 0.05,
        candidate_ratio: float = 4.0,
    ) -> None:
        self.xi, self.alpha, self.upper = xi, alpha, upper
        self.score_thr = score_thr
        self.candidate_ratio = candidate_ratio

    def describe(self, model: nn.Module, batch: dict) -> list[dict[str, Tensor]]:
        """Keep scores, labels and features of detections, of labelled images their quality."""
        classes = number_of_classes(model)
        with captured_features(model) as noted:
            samples = detect(model, batch)
        described = []
        for index, sample in enumerate(samples):
            if sample.get("labeled"):
                kept = class_quality(sample, classes, self.xi)
            else:
                found = sample.pred_instances
                found = found[found.scores >= self.score_thr]
                maps = [level[index : index + 1] for level in noted[-1]]
                features = features_at(maps, _input_boxes(sample, found), sample.batch_input_shape)
                # Half precision: dozens of detections of each image of the pool are kept.
                kept = dict(scores=found.scores, labels=found.labels, features=features.half())
            described.append(kept)
        return described

    def select(self, descriptors: Descriptors, pool: Pool, count: int) -> Selection:
        """Select by DCUS, then CCMS."""
        labeled = [descriptors[image] for image in pool.labeled() if image in descriptors]
        weights = self.class_weights(labeled)
        images = candidates(descriptors, pool)
        scores = [self._uncertainty(descriptors[image], weights) for image in images]
        size = min(len(images), max(count, round(self.candidate_ratio * count)))
        kept = top_scoring(images, scores, size)
        distances = image_distances([descriptors[image] for image in kept])
        by_image = dict(zip(images, scores, strict=True))
        # The first centre is the most uncertain image.
        first = max(range(size), key=lambda index: by_image[kept[index]])
        nearest = distances[first].clone()
        nearest[first] = -torch.inf
        others = k_center_greedy(lambda index: distances[index], nearest, count - 1)
        others = [first, *others]
        chosen = sorted(kept[index] for index in k_medoids(distances, others))
        return Selection(chosen, {image: by_image[image] for image in chosen})

    def class_weights(self, labeled: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return (C,) weights from the quality of the labelled images' detections."""
        quality = sum(kept["quality"] for kept in labeled)
        objects = sum(kept["objects"] for kept in labeled)
        difficulty = 1 - quality / objects.clamp(min=1)
        base = math.expm1(1 / self.alpha)
        return 1 + self.alpha * self.upper * torch.log1p(base * difficulty)

    def _uncertainty(self, kept: Mapping[str, Tensor], weights: Tensor) -> float:
        scores = kept["scores"]
        entropy = torch.special.entr(scores) + torch.special.entr(1 - scores)
        return float((weights[kept["labels"]] * entropy).sum())


def class_quality(sample: DetDataSample, classes: int, xi: float) -> dict[str, Tensor]:
    """Sum the quality of the best detection of each labelled object by class.

    Args:
        sample: With ``pred_instances``, and the ``truth`` of the pool in its metainfo.
        classes: C.
        xi: Exponent of the score.

    Returns:
        ``quality`` and ``objects``, (C,) sums over the objects of each class.
    """
    found = sample.pred_instances
    truth = [entry for entry in sample.truth if not entry.get("ignore_flag", 0)]
    labels = found.labels.new_tensor([entry["bbox_label"] for entry in truth])
    boxes = found.scores.new_tensor([entry["bbox"] for entry in truth]).reshape(-1, 4)
    overlaps = bbox_overlaps(boxes, get_box_tensor(found.bboxes))
    quality = found.scores**xi * overlaps ** (1 - xi) * (labels[:, None] == found.labels)
    # A column of zeros: an object of an image without detections has the quality 0.
    best = nn.functional.pad(quality, (0, 1)).amax(1)
    sums = best.new_zeros(2, classes)
    sums[0].index_add_(0, labels, best)
    sums[1].index_add_(0, labels, torch.ones_like(best))
    return dict(quality=sums[0], objects=sums[1])


def _input_boxes(sample: DetDataSample, found: DetDataSample) -> Tensor:
    boxes = get_box_tensor(found.bboxes)
    return boxes * boxes.new_tensor(sample.get("scale_factor", (1.0, 1.0))).repeat(2)


def features_at(maps: Sequence[Tensor], boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Look features up at the centres of boxes, each on the level of its size.

    Args:
        maps: Of each level (1, D, H, W).
        boxes: (N, 4) corners in pixels of the network's input.
        shape: Height and width of the input.

    Returns:
        (N, D) of length 1.
    """
    height, width = shape
    centres = (boxes[:, :2] + boxes[:, 2:]) / boxes.new_tensor((width, height)) - 1
    looked_up = [
        grid_sample(level, centres[None, None], align_corners=False)[0, :, 0] for level in maps
    ]
    strides = boxes.new_tensor([width / level.shape[3] for level in maps])
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).prod(1).sqrt()
    level = (sides[:, None] / (_CELLS * strides)).log().abs().argmin(1)
    return normalize(torch.stack(looked_up)[level, :, torch.arange(len(boxes))], dim=1)


def image_distances(described: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Return (N, N) distances of images by the nearest detections of the same class.

    From one image to another it is the mean over its detections, by score, of 1 - the largest
    cosine with a detection of the same class there, or of 1 if there is none; the distance is the
    mean of both directions.

    Args:
        described: For each image ``scores`` (n,), ``labels`` (n,) and ``features`` (n, D).
    """
    sizes = torch.tensor([len(kept["scores"]) for kept in described])
    owner = torch.repeat_interleave(torch.arange(len(described)), sizes)
    scores = torch.cat([kept["scores"] for kept in described]).float()
    labels = torch.cat([kept["labels"] for kept in described])
    features = torch.cat([kept["features"] for kept in described]).float()
    totals = scores.new_zeros(len(described)).index_add_(0, owner, scores).clamp(min=1e-12)
    similar = scores.new_zeros(len(described), len(described))
    for rows in torch.arange(len(scores)).split(_CHUNK):
        cosine = (features[rows] @ features.T).clamp_(min=0)
        cosine *= labels[rows, None] == labels
        nearest = cosine.new_zeros(len(rows), len(described))
        nearest.scatter_reduce_(1, owner.expand_as(cosine), cosine, "amax")
        similar.index_add_(0, owner[rows], nearest * (scores / totals[owner])[rows, None])
    distances = 1 - (similar + similar.T) / 2
    return distances.fill_diagonal_(0)
