"""Counts how often a KLD loss of Rotated FCOS is finite at the first step: ours and mmrotate's.

    python tools/benchmarks/rotated_fcos_kld_seeds.py [--seeds 50] [--size 256]

For each seed, mmrotate's own config ``rotated-fcos-le90_r50_fpn_kld_1x_dota`` with a ResNet-18 gets
random weights, an image of noise and ten random boxes. Its head clamps predicted distances at zero,
so that many predicted boxes have no extent. All losses see the same predictions. Prints one
markdown table: in how many seeds the box loss was finite, and its gradient in every parameter.
"""

import argparse

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmext.engine import import_host

CONFIG = "mmrotate::rotated_fcos/rotated-fcos-le90_r50_fpn_kld_1x_dota.py"
KLD = dict(loss_type="kld", fun="log1p", tau=1)
LOSSES = {
    "mmrotate GDLoss_v1 kld, as the config has it": dict(type="GDLoss_v1", **KLD),
    "mmrotate GDLoss kld": dict(type="GDLoss", **KLD, sqrt=False),
    "mmext.GDLoss kld": dict(type="mmext.GDLoss", **KLD, sqrt=False),
    "mmext.KLDLoss": dict(type="mmext.KLDLoss"),
}


def make_detector(cfg: Config, seed: int) -> nn.Module:
    """Build the detector with random weights."""
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.train()


def random_boxes(size: int, count: int = 10) -> Tensor:
    """Draw (count, 5) boxes that lie in the image for the most part."""
    centre = (0.1 + 0.8 * torch.rand(count, 2)) * size
    sides = (0.05 + 0.35 * torch.rand(count, 2)) * size
    angle = (torch.rand(count, 1) - 0.5) * torch.pi
    return torch.cat((centre, sides, angle), 1)


def box_loss_is_finite(model: nn.Module, loss: nn.Module, call: tuple) -> tuple[bool, bool]:
    """Return whether one loss and its gradients are finite.

    Args:
        model: Rotated FCOS.
        loss: Its box loss.
        call: Arguments of its head's ``loss_by_feat``.

    Returns:
        Whether the loss is finite, and whether the gradient of every parameter is.
    """
    model.bbox_head.loss_bbox = loss
    try:
        value = model.bbox_head.loss_by_feat(*call)["loss_bbox"].mean()
    except torch.linalg.LinAlgError:  # of torch.inverse, for the whole batch
        return False, False
    learning = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(value, learning, retain_graph=True, allow_unused=True)
    finite = all(grad.isfinite().all() for grad in grads if grad is not None)
    return bool(value.isfinite()), finite


def count_finite(seeds: int, size: int) -> tuple[dict[str, list[int]], float]:
    """Count finite losses and gradients.

    Args:
        seeds: Number of seeds, from 0.
        size: Side of the image in pixels.

    Returns:
        Per loss the two counts, and the share of positive rows with a side of exactly 0.
    """
    MMLogger.get_instance("seeds").setLevel("ERROR")  # init_weights logs every parameter
    import_host("mmrotate")
    from mmrotate.structures.bbox import RotatedBoxes

    cfg = get_config(CONFIG)
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=dict(depth=18, init_cfg=None), neck=dict(in_channels=[64, 128, 256, 512])
            )
        )
    )
    counts = {name: [0, 0] for name in LOSSES}
    sides = _SideCounter()
    for seed in range(seeds):
        with DefaultScope.overwrite_default_scope("mmrotate"):
            model = make_detector(cfg, seed)
            losses = {name: MODELS.build(loss) for name, loss in LOSSES.items()}
        outs = model.bbox_head(model.extract_feat(torch.randn(1, 3, size, size)))
        boxes = random_boxes(size)
        truth = InstanceData(bboxes=RotatedBoxes(boxes), labels=torch.randint(15, (len(boxes),)))
        call = (*outs, [truth], [dict(img_shape=(size, size))])
        box_loss_is_finite(model, sides, call)
        for name, loss in losses.items():
            for index, finite in enumerate(box_loss_is_finite(model, loss, call)):
                counts[name][index] += finite
    return counts, sides.without_extent / sides.rows


class _SideCounter(nn.Module):
    """Takes the place of a loss and counts the predictions without extent."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = self.without_extent = 0

    def forward(self, pred: Tensor, target: Tensor, **kwargs: object) -> Tensor:
        """Count, and return something to differentiate."""
        self.rows += len(pred)
        self.without_extent += int((pred[:, 2:4] == 0).any(1).sum())
        return pred.sum()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    args = parser.parse_args()
    counts, empty = count_finite(args.seeds, args.size)
    print(f"{empty:.0%} of the positive predictions have a side of exactly 0.\n")
    print(f"| loss | finite in {args.seeds} seeds | finite gradients |\n|---|---|---|")
    for name, (values, gradients) in counts.items():
        print(f"| {name} | {values} | {gradients} |")


if __name__ == "__main__":
    main()
