"""Loss of the embeddings by which CenterNet tells corners of one object from those of others."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmext.registry import MODELS

from ..keypoints.predictor import COUNT_EPS


def pull_push_loss(tl_tags: Tensor, br_tags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pull the two corners of an object together and push objects apart (CornerNet, eq. 4 and 5).

    With n objects in an image and the mean tag m of each, pull is the sum of ``(tag - m)^2 / n``
    over both corners, push that of ``relu(1 - |m_i - m_j|) / (n (n - 1))`` over pairs of different
    objects. Both are summed over the images.

    As in the official code 1e-4 is added to each divisor, and the pair of an object with itself is
    not left out but cancelled by ``-1 / n``. So a single object has a push of about 1, a constant
    without gradient. ``mmdet.AssociativeEmbeddingLoss`` has neither, and goes through the objects
    one by one.

    Args:
        tl_tags (Tensor): (B, N) embeddings of the top-left corners.
        br_tags (Tensor): (B, N) embeddings of the bottom-right corners.
        mask (Tensor): (B, N) bool, false for the padding of images with fewer objects.

    Returns:
        tuple[Tensor, Tensor]: Pull and push, scalars.
    """
    count = mask.sum(1, keepdim=True).to(tl_tags)  # (B, 1)
    mean = (tl_tags + br_tags) / 2
    pull = ((tl_tags - mean).square() + (br_tags - mean).square()) / (count + COUNT_EPS)

    count = count[..., None]
    near = F.relu(1 - (mean[:, None] - mean[:, :, None]).abs()) - 1 / (count + COUNT_EPS)
    push = near / (count * (count - 1) + COUNT_EPS)
    pairs = mask[:, None] & mask[:, :, None]
    return torch.where(mask, pull, 0).sum(), torch.where(pairs, push, 0).sum()


@MODELS.register_module()
class PullPushLoss(nn.Module):
    """Module form of :func:`pull_push_loss`.

    Args:
        pull_weight (float): Factor on pull.
        push_weight (float): Factor on push.
    """

    def __init__(self, pull_weight: float = 0.1, push_weight: float = 0.1) -> None:
        super().__init__()
        self.pull_weight = pull_weight
        self.push_weight = push_weight

    def forward(self, tl_tags: Tensor, br_tags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted losses, see :func:`pull_push_loss` for the arguments."""
        pull, push = pull_push_loss(tl_tags, br_tags, mask)
        return self.pull_weight * pull, self.push_weight * push
