"""The detector Group-Free-3D."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmext.registry import MODELS

from ..structures import Det3DSample
from .coder import BoxCoder
from .decode import ENSEMBLES, decode_stages, detect
from .decoder import Decoder
from .point_net2 import Seeds
from .prediction import PredictionHead, SeedHead, Stage
from .targets import candidate_targets, collect, seed_targets

_TEST_CFG = dict(
    ensemble="last",
    also=(),
    score_thr=0.0,
    min_points=5,
    nms_iou=0.25,
    per_class_proposal=True,
)
Sampling = Literal["kps", "fps"]
Losses = dict[str, Tensor | list[Tensor]]


class Candidates(NamedTuple):
    """Seeds from which objects are predicted.

    Attributes:
        indices: (B, O), which seeds they are.
        xyz: (B, O, 3) in metres.
        features: (B, C, O).
    """

    indices: Tensor
    xyz: Tensor
    features: Tensor


class Outputs(NamedTuple):
    """What the network says.

    Attributes:
        seeds: The backbone's points.
        seed_logits: (B, S) scores by which candidates are chosen; None with ``sampling='fps'``.
        candidates: The chosen ones.
        stages: Predictions about the candidates, then those of each decoder layer.
    """

    seeds: Seeds
    seed_logits: Tensor | None
    candidates: Candidates
    stages: list[Stage]


@MODELS.register_module()
class GroupFree3D(BaseModel):
    """Group-Free 3D Object Detection via Transformers (arXiv 2104.00678).

    Points of a backbone are candidates for objects; a decoder lets them attend to each other and to
    all points, and predicts boxes anew behind every layer.

    Two forms are published. With ``mean_sizes`` and one bin of the heading, boxes are aligned with
    the axes and their sizes are relative to the mean of a class (ScanNet). Without ``mean_sizes``
    sizes are metres (SUN RGB-D, with 12 bins).

    Args:
        backbone: Config of a network that maps points to
            :class:`~mmext.detection3d.group_free3d.point_net2.Seeds`, with ``out_channels``.
        num_classes: Number of classes K.
        num_candidates: Candidates O per scene.
        sampling: How they are chosen: ``kps``, by a learned score, or ``fps``, furthest points.
        num_heading_bins: Bins of the heading; 1: boxes are not turned.
        mean_sizes: (K, 3) mean l, w, h of the classes in metres; None: sizes without classes.
        decoder: ``num_layers``, ``num_heads``, ``ffn_channels`` and ``dropout`` of
            :class:`~mmext.detection3d.group_free3d.decoder.Decoder`.
        loss: Config of the losses.
        train_cfg: ``topk`` (4) and ``strict_topk`` (True) of
            :func:`~mmext.detection3d.group_free3d.targets.seed_targets`.
        test_cfg: ``ensemble`` (``last``), see
            :func:`~mmext.detection3d.group_free3d.decode.decode_stages`, and ``score_thr`` (0),
            ``min_points`` (5), ``nms_iou`` (0.25) and ``per_class_proposal`` (True), see
            :func:`~mmext.detection3d.group_free3d.decode.detect`. ``also`` (none): other ensembles
            whose detections go into ``pred_ensembles_3d``, by name, so that
            :class:`mmext.detection3d.IndoorMetric` gives figures for them too.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: For mmengine.

    Raises:
        ValueError: An option has a value that it cannot have; the message names it.
    """

    def __init__(
        self,
        *,
        backbone: dict,
        num_classes: int,
        num_candidates: int = 256,
        sampling: Sampling = "kps",
        num_heading_bins: int = 1,
        mean_sizes: Sequence[Sequence[float]] | None = None,
        decoder: dict = dict(num_layers=6),
        loss: dict = dict(type="mmext.GroupFree3DLoss"),
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict = dict(type="mmext.PointsPreprocessor"),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if mean_sizes is not None and len(mean_sizes) != num_classes:
            raise ValueError(
                f"model.mean_sizes has {len(mean_sizes)} rows for {num_classes} classes: expected "
                "a mean size for each, or None to predict sizes without classes"
            )
        if sampling not in ("kps", "fps"):
            raise ValueError(f"model.sampling must be 'kps' or 'fps', got {sampling!r}")
        self.train_cfg = _options("train_cfg", train_cfg, dict(topk=4, strict_topk=True))
        self.test_cfg = _options("test_cfg", test_cfg, _TEST_CFG)
        for ensemble in (self.test_cfg["ensemble"], *self.test_cfg["also"]):
            if ensemble not in ENSEMBLES:
                raise ValueError(
                    f"model.test_cfg has the ensemble {ensemble!r}: expected one of {ENSEMBLES}"
                )
        self.num_candidates = num_candidates
        self.backbone = MODELS.build(backbone)
        channels = self.backbone.out_channels
        self.coder = BoxCoder(num_heading_bins, mean_sizes)
        self.seed_head = SeedHead(channels) if sampling == "kps" else None
        self.proposal_head = PredictionHead(channels, num_classes, self.coder)
        self.decoder = Decoder(channels, **decoder)
        self.prediction_heads = nn.ModuleList(
            PredictionHead(channels, num_classes, self.coder) for _ in self.decoder.layers
        )
        self.loss_module = MODELS.build(loss)

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[Det3DSample] | None = None,
        mode: str = "tensor",
    ) -> Outputs | Losses | list[Det3DSample]:
        """Run the network, learn, or detect.

        Args:
            inputs: (B, N, 3 + f): x, y, z in metres, then features.
            data_samples: One per scene. For ``'loss'`` with ``gt_instances_3d`` and
                ``gt_point_instances``.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            ``'tensor'``: raw outputs. ``'loss'``: losses by name. ``'predict'``: the samples with
            ``pred_instances_3d``.

        Raises:
            ValueError: Another mode, or coordinates that are not finite.
        """
        if mode == "tensor":
            return self.run(inputs)
        if mode == "loss":
            return self.loss(inputs, data_samples)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        raise ValueError(f"mode {mode!r}: expected 'tensor', 'loss' or 'predict'")

    def run(self, points: Tensor) -> Outputs:
        """Compute the raw outputs of all stages for (B, N, 3 + f) points."""
        seeds = self.backbone(points)
        logits = None if self.seed_head is None else self.seed_head(seeds.features)
        candidates = self.choose(seeds, logits)
        stages = [self.proposal_head(candidates.features, candidates.xyz)]
        query, key = self.decoder.project(candidates.features, seeds.features)
        context = self.prepare(points, seeds)
        for number in range(len(self.decoder.layers)):
            inputs = (query, key, stages[-1].box, seeds.xyz)
            query, stage = self.run_layer(number, inputs, candidates.xyz, context)
            stages.append(stage)
        return Outputs(seeds, logits, candidates, stages)

    def choose(self, seeds: Seeds, logits: Tensor | None) -> Candidates:
        """Choose candidates: the seeds of highest scores, or the first, which are far apart.

        Args:
            seeds: All of them.
            logits: (B, S), or None.

        Returns:
            The candidates, by falling score.

        Raises:
            ValueError: There are fewer seeds than candidates.
        """
        batch, num_seeds = seeds.indices.shape
        if num_seeds < self.num_candidates:
            raise ValueError(
                f"model.num_candidates is {self.num_candidates}, but the backbone gives "
                f"{num_seeds} seeds: lower it, or raise model.backbone.num_points[1]"
            )
        if logits is None:  # a sequence of furthest points begins with the furthest of its points
            indices = torch.arange(self.num_candidates, device=seeds.indices.device)
            indices = indices.expand(batch, -1)
        else:
            indices = logits.topk(self.num_candidates).indices
        xyz = seeds.xyz.gather(1, indices[..., None].expand(-1, -1, 3))
        channels = seeds.features.shape[1]
        features = seeds.features.gather(2, indices[:, None].expand(-1, channels, -1))
        return Candidates(indices, xyz, features)

    def prepare(self, points: Tensor, seeds: Seeds) -> Any:
        """Compute what all layers share; here nothing, for detectors that build on this one.

        Args:
            points: (B, N, 3 + f).
            seeds: The backbone's points.

        Returns:
            What :meth:`run_layer` gets as ``context``.
        """
        return None

    def run_layer(
        self, number: int, inputs: tuple[Tensor, ...], points: Tensor, context: Any
    ) -> tuple[Tensor, Stage]:
        """Refine the candidates with one decoder layer and predict.

        Args:
            number: Of the layer.
            inputs: Of the layer: queries, keys, boxes and points.
            points: (B, O, 3) in metres, where the candidates lie.
            context: What :meth:`prepare` gave.

        Returns:
            (B, O, C) queries for the next layer, and the predictions.
        """
        query = self.decoder.layers[number](*inputs)
        return query, self.prediction_heads[number](query.transpose(1, 2), points)

    def loss(self, points: Tensor, samples: Sequence[Det3DSample]) -> Losses:
        """Return the losses by name, see :class:`GroupFree3DLoss`; arguments as :meth:`forward`."""
        _check_finite(points, samples)
        truth = collect(samples, points)
        out = self.run(points)
        seed_instances = truth.instances.gather(1, out.seeds.indices)
        instances = seed_instances.gather(1, out.candidates.indices)
        targets = candidate_targets(instances, truth, self.coder)
        positive = None
        if out.seed_logits is not None:
            positive = seed_targets(out.seeds.xyz, seed_instances, truth, **self.train_cfg)
        return self.loss_module(out.stages, targets, out.seed_logits, positive)

    @torch.no_grad()
    def predict(
        self, points: Tensor, samples: Sequence[Det3DSample] | None = None
    ) -> list[Det3DSample]:
        """Detect objects.

        Args:
            points: (B, N, 3 + f).
            samples: One per scene; None makes new ones.

        Returns:
            The samples with ``pred_instances_3d``: ``bboxes_3d``, ``labels_3d`` and ``scores_3d``.
        """
        if samples is None:
            samples = [Det3DSample() for _ in points]
        _check_finite(points, samples)
        out, also = self.run(points), self.test_cfg["also"]
        found = self.detect(out, points, self.test_cfg["ensemble"])
        others = [self.detect(out, points, ensemble) for ensemble in also]
        for sample, instances, *parts in zip(samples, found, *others, strict=True):
            sample.pred_instances_3d = instances
            if also:
                sample.pred_ensembles_3d = dict(zip(also, parts, strict=True))
        return list(samples)

    def detect(self, out: Outputs, points: Tensor, ensemble: str) -> list[InstanceData]:
        """Choose the detections of each scene.

        Args:
            out: Raw outputs.
            points: (B, N, 3 + f), from which they come.
            ensemble: See :func:`~mmext.detection3d.group_free3d.decode.decode_stages`.

        Returns:
            Per scene, see :func:`~mmext.detection3d.group_free3d.decode.detect`.
        """
        names = ("score_thr", "min_points", "nms_iou", "per_class_proposal")
        options = {name: self.test_cfg[name] for name in names}
        decoded = decode_stages(out.stages, self.coder, ensemble)
        parts = (_at_least_single(part) for part in (*decoded, points[..., :3]))
        scenes = zip(*parts, strict=True)
        return [detect(*scene, **options) for scene in scenes]


def _at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _options(name: str, given: dict | None, defaults: dict) -> dict:
    """Return options with defaults filled in, if there are no others."""
    unknown = sorted((given or {}).keys() - defaults.keys())
    if unknown:
        raise ValueError(f"model.{name} has {unknown}: expected some of {sorted(defaults)}")
    return defaults | (given or {})


def _check_finite(points: Tensor, samples: Sequence[Det3DSample]) -> None:
    """Raise if a scene has points that are not finite."""
    finite = points.isfinite().all(-1)
    if bool(finite.all()):
        return
    scene = int((~finite).any(1).nonzero()[0])
    name = samples[scene].get("sample_idx", scene)
    raise ValueError(
        f"scene {name} has {int((~finite[scene]).sum())} points with NaN or infinite values: "
        "remove them when the scene is loaded, with the rows of its point labels"
    )
