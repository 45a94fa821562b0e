"""What a scene is like as a whole, and which of the learned embeddings it asks for."""

import math

import torch
from torch import Tensor, nn


class SceneNorm(nn.Module):
    """Centres and scales descriptions of scenes, each channel by its running mean and variance.

    Rooms look alike to a network that has learnt nothing: what all share is ten times what they
    differ by, and attention that asks with it gives all scenes the same. A batch norm would help
    too, but not a batch of one scene, which this learns from as well.

    Args:
        channels: Of the descriptions.
        momentum: Share of a batch in the running estimates; the first ones count alike.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, scene: Tensor) -> Tensor:
        """Normalise (B, channels); in training, learn the estimates from them first."""
        if self.training:
            self.update(scene.detach())
        return (scene - self.mean) * (self.variance + 1e-6).rsqrt()

    @torch.no_grad()
    def update(self, scene: Tensor) -> None:
        """Move the estimates towards those of (B, channels)."""
        self.batches += 1
        share = (1 / self.batches).clamp(min=self.momentum).to(scene.dtype)
        self.mean.lerp_(scene.mean(0), share)
        self.variance.lerp_((scene - self.mean).square().mean(0), share)


class SceneEncoder(nn.Module):
    """A vector that describes a scene, whatever the order of its points.

    Args:
        channels: Of the vector.
        in_channels: Features of the points: 3 for coordinates alone, which then go through shared
            layers, else features that are deep already.
    """

    def __init__(self, channels: int, in_channels: int = 3) -> None:
        super().__init__()
        # Layer norms: a batch of one scene is as good as any other.
        self.mlp = (
            nn.Sequential(
                nn.Linear(3, 64),
                nn.LayerNorm(64),
                nn.ReLU(),
                nn.Linear(64, 128),
                nn.LayerNorm(128),
                nn.ReLU(),
            )
            if in_channels == 3
            else nn.Identity()
        )
        self.out = nn.Linear(2 * (128 if in_channels == 3 else in_channels), channels)
        self.norm = SceneNorm(channels)

    def forward(self, points: Tensor) -> Tensor:
        """Describe scenes.

        Args:
            points: (B, M, in_channels); coordinates in metres.

        Returns:
            (B, channels).
        """
        if points.shape[-1] == 3:
            # Where the origin lies says nothing about a room: its middle, and its floor.
            middle, floor = points[..., :2].mean(1), points[..., 2].quantile(0.01, dim=1)
            points = points - torch.cat((middle, floor[:, None]), 1)[:, None]
        features = self.mlp(points)
        return self.norm(self.out(torch.cat((features.amax(1), features.mean(1)), -1)))


class SceneAttention(nn.Module):
    """Lets a scene ask a bank of learned embeddings, each head for a part of the weights.

    Args:
        scene_channels: Of the vector that describes the scene.
        channels: Of the embeddings, d_z.
        num_embeddings: In the bank, n_s.
        num_heads: Heads, H.
        key_channels: Of queries and keys, d_k.
        temperature: Above 1 the scene chooses less, below 1 more decidedly.
    """

    def __init__(
        self,
        scene_channels: int,
        channels: int,
        num_embeddings: int,
        num_heads: int,
        key_channels: int,
        temperature: float,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = 1 / (math.sqrt(key_channels) * temperature)
        self.bank = nn.Parameter(torch.randn(num_embeddings, channels) / math.sqrt(channels))
        self.query = nn.Linear(scene_channels, num_heads * key_channels, bias=False)
        self.key = nn.Linear(channels, num_heads * key_channels, bias=False)
        self.value = nn.Linear(channels, num_heads * channels, bias=False)
        # Scenes have channels of size 1, embeddings a length of 1. This gives queries and keys
        # channels of size 1, so that scenes ask for different things from the start.
        nn.init.normal_(self.query.weight, std=1 / math.sqrt(scene_channels))
        nn.init.normal_(self.key.weight)
        nn.init.normal_(self.value.weight, std=1 / math.sqrt(channels))

    def forward(self, scene: Tensor) -> tuple[Tensor, Tensor]:
        """Ask.

        Args:
            scene: (B, scene_channels).

        Returns:
            (B, H, d_z) embeddings of the scene, and (B, H, n_s) attention weights.
        """
        query = self.query(scene).unflatten(-1, (self.num_heads, -1))
        key = self.key(self.bank).unflatten(-1, (self.num_heads, -1))
        value = self.value(self.bank).unflatten(-1, (self.num_heads, -1))
        weights = (self.scale * torch.einsum("bhk,nhk->bhn", query, key)).softmax(-1)
        return torch.einsum("bhn,nhz->bhz", weights, value), weights
