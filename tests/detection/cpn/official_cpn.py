"""The official CPN networks with parameters from their names, and what they were given."""

from pathlib import Path

import numpy as np
import torch
from golden_parameters import golden_parameter, official_cpn_shapes
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmext.checkpoints.cpn import convert_cpn
from mmext.detection.keypoints.targets import KeypointTargets, gaussian_radius, keypoint_targets
from mmext.registry import MODELS

ROOT = Path(__file__).parents[3]
CONFIGS = {"dla34": "cpn_dla34_coco.py", "hg104": "cpn_hourglass104_coco.py"}
SHAPES = {"dla34": (2, 3, 128, 160), "hg104": (2, 3, 127, 127)}


def official_network(name: str) -> nn.Module:
    """Build the network of a config and load the official tensors, converted, strictly."""
    init_default_scope("mmdet")
    with torch.device("meta"):
        model = MODELS.build(Config.fromfile(ROOT / "configs" / "cpn" / CONFIGS[name]).model)
    shapes = official_cpn_shapes(name)
    tensors = {theirs: golden_parameter(theirs, shape) for theirs, shape in shapes.items()}
    model.to_empty(device="cpu").eval()
    model.load_state_dict(convert_cpn(tensors).state_dict, strict=True, assign=True)
    return model


def official_image(name: str) -> Tensor:
    """Draw the images that were looked at."""
    noise = np.random.default_rng(0).standard_normal(SHAPES[name])
    return torch.from_numpy(noise.astype(np.float32))


def crafted_logits(golden: dict[str, Tensor], shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Heat maps for the proposals, since those of such a network have no peaks."""
    batch, *rest = shape
    noise = np.random.default_rng(5).standard_normal((batch, 2, *rest))
    logits = torch.from_numpy(np.float32(-9 + 0.01 * noise))
    logits[tuple(golden["corner_logits_nonbg"].T)] = golden["corner_logits_vals"]
    return logits[:, 0], logits[:, 1]


def golden_targets(
    golden: dict[str, Tensor], shape: torch.Size
) -> tuple[list[KeypointTargets], Tensor]:
    """Targets of both corners, and the labels, of objects that are given in cells."""
    counts = golden["lens"].tolist()
    images = torch.repeat_interleave(torch.arange(len(counts)), golden["lens"])
    objects = torch.cat([golden["gt"][i, :n] for i, n in enumerate(counts)])
    labels = objects[:, 4].long()
    radii = gaussian_radius((objects[:, 2:4] - objects[:, :2]).double())
    targets = []
    for corner in range(2):
        points = objects[:, 2 * corner : 2 * corner + 2]
        offsets = torch.cat([golden["gt_regr"][corner, i, :n] for i, n in enumerate(counts)])
        target = keypoint_targets(points, radii, labels, images, tuple(shape))
        targets.append(target._replace(offsets=offsets))
    return targets, labels
