"""The hypernetworks of HyperDet3D: weights for the detector's layers, made for each scene."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from .generator import WeightGenerator
from .scene import SceneAttention, SceneEncoder

Fusion = Literal["mul", "add", "agnostic", "specific"]
Position = Literal["post_ffn", "ffn_in", "pred_in"]
FUSIONS = ("mul", "add", "agnostic", "specific")
POSITIONS = ("post_ffn", "ffn_in", "pred_in")


class SceneWeights(NamedTuple):
    """Generated layers, for each scene of a batch; with one scene they serve any batch.

    Attributes:
        weight: (B, L, H, o, i) matrices.
        bias: (B, L, H, o).
        attention: (B, H, n_s), how the scenes asked the bank; None if they did not.
        specific: (B, L, H, o, i), the factor or summand that depends on the scene; None likewise.
    """

    weight: Tensor
    bias: Tensor
    attention: Tensor | None
    specific: Tensor | None


class SceneHypernetwork(nn.Module):
    """Makes a layer's weights from learned embeddings, and from those that the scene asks for.

    Scene-agnostic weights come from a bank with embeddings for each layer, scene-specific ones from
    a bank for all layers, which the scene asks by attention. All layers share the generators.

    Args:
        channels: C, which the layers map to C.
        num_layers: Decoder layers, L.
        position: Where the layers stand, see :class:`HyperDet3D`. Weights for ``post_ffn`` are
            whole ones, for the others they go with a layer that is there already.
        fusion: How both kinds of weights meet: ``mul``, ``add``; ``agnostic`` or ``specific``: only
            one kind.
        num_heads: Heads H; each makes a part of the matrix.
        block_diagonal: Each head's part maps a slice of C / H channels to itself, else all channels
            to a slice.
        scene_source: What describes a scene: ``points``, those chosen first by furthest point
            sampling, or ``seeds``, the features of the backbone.
        scene_channels: Of the vector that describes a scene.
        embed_channels: Of the embeddings, d_z.
        hidden_channels: Of the generators, d_h.
        num_agnostic: Embeddings per layer, n_a, whose mean counts.
        num_specific: Embeddings in the bank that scenes ask, n_s.
        key_channels: Of the attention, d_k.
        temperature: Of the attention.
        bounded: Keep the scene's factor between 0 and 2, for ``mul``.

    Raises:
        ValueError: An option has a value that it cannot have; the message names it.
    """

    def __init__(
        self,
        channels: int,
        num_layers: int,
        *,
        position: Position = "post_ffn",
        fusion: Fusion = "mul",
        num_heads: int = 4,
        block_diagonal: bool = True,
        scene_source: Literal["points", "seeds"] = "points",
        scene_channels: int = 128,
        embed_channels: int = 64,
        hidden_channels: int = 64,
        num_agnostic: int = 1,
        num_specific: int = 32,
        key_channels: int = 16,
        temperature: float = 1.0,
        bounded: bool = False,
    ) -> None:
        super().__init__()
        _check(locals())
        self.channels = channels
        self.num_heads = num_heads
        self.fusion = fusion
        self.scene_source = scene_source
        rows = channels // num_heads
        self.block_diagonal = block_diagonal and num_heads > 1
        columns = rows if self.block_diagonal else channels
        whole = position == "post_ffn"
        generator = dict(
            embed_channels=embed_channels, hidden_channels=hidden_channels, exact=not whole
        )
        place = (num_layers, num_heads, embed_channels)
        small = 0.1 / math.sqrt(embed_channels)
        self.place = nn.Parameter(torch.randn(place) * small)
        self.agnostic_bank = self.agnostic = self.encoder = self.attention = self.specific = None
        self.to_bias = None
        if fusion != "specific":
            bank = torch.randn(num_layers, num_agnostic, embed_channels) / math.sqrt(embed_channels)
            self.agnostic_bank = nn.Parameter(bank)
            start = "linear" if whole else "zero"
            self.agnostic = WeightGenerator(columns, rows, start=start, **generator)
        if fusion != "agnostic":
            in_channels = 3 if scene_source == "points" else channels
            self.encoder = SceneEncoder(scene_channels, in_channels)
            self.attention = SceneAttention(
                scene_channels, embed_channels, num_specific, num_heads, key_channels, temperature
            )
            start = {"mul": "one", "add": "zero", "specific": "linear" if whole else "zero"}[fusion]
            self.specific = WeightGenerator(
                columns, rows, start=start, bounded=bounded, **generator
            )
            self.to_bias = nn.Linear(embed_channels, rows, bias=False)
            nn.init.zeros_(self.to_bias.weight)
        self.bias = nn.Parameter(torch.zeros(num_layers, num_heads, rows))

    def forward(
        self, centres: Tensor, features: Tensor, base: Tensor | None = None
    ) -> SceneWeights:
        """Make the weights of all layers for each scene, in single precision at least.

        Args:
            centres: (B, M, 3) points of the scene in metres.
            features: (B, C, S) of the backbone's seeds.
            base: (L, C, C) weights that are there already, to which agnostic ones are added (those
                of the scene, where there are no agnostic ones).

        Returns:
            Weights and biases; of one scene, if none counts.
        """
        with torch.autocast(centres.device.type, enabled=False):
            scene = features.transpose(1, 2) if self.scene_source == "seeds" else centres
            scene = scene.to(self.place.dtype)
            agnostic = specific = attention = None
            bias = self.bias[None]
            if self.attention is not None:
                asked, attention = self.attention(self.encoder(scene))
                specific = self.specific(asked[:, None] + self.place)
                bias = bias + self.to_bias(asked)[:, None]
            if self.agnostic is not None:
                own = self.agnostic_bank.mean(1)[:, None] + self.place
                agnostic = self.agnostic(own)[None]
            return SceneWeights(self._fuse(agnostic, specific, base), bias, attention, specific)

    def _fuse(
        self, agnostic: Tensor | None, specific: Tensor | None, base: Tensor | None
    ) -> Tensor:
        """Join the (1, L, H, o, i) agnostic and (B, L, H, o, i) specific weights."""
        own = 0 if base is None else base.unflatten(1, (self.num_heads, -1))[None]
        if agnostic is None:
            return own + specific
        if specific is None:
            return own + agnostic
        return (own + agnostic) * specific if self.fusion == "mul" else own + agnostic + specific

    def apply_layer(self, weights: SceneWeights, layer: int, x: Tensor) -> Tensor:
        """Map the features of each scene with its weights, all scenes in one multiplication.

        Args:
            weights: Of all layers.
            layer: Which of them.
            x: (B, P, C).

        Returns:
            (B, P, C).
        """
        weight, bias = weights.weight[:, layer], weights.bias[:, layer].flatten(1)
        if self.block_diagonal:
            parts = x.unflatten(-1, (self.num_heads, -1))
            out = torch.einsum("bhoi,bphi->bpho", weight.expand(len(x), -1, -1, -1), parts)
            out = out.flatten(2)
        else:
            out = x @ weight.flatten(1, 2).transpose(1, 2)
        return out + bias[:, None]


def _check(options: dict) -> None:
    """Raise if an option has a value that it cannot have."""
    for name, allowed in (
        ("position", POSITIONS),
        ("fusion", FUSIONS),
        ("scene_source", ("points", "seeds")),
    ):
        if options[name] not in allowed:
            raise ValueError(f"model.hyper.{name} must be one of {allowed}, got {options[name]!r}")
    channels, heads = options["channels"], options["num_heads"]
    if channels % heads:
        raise ValueError(f"model.hyper.num_heads is {heads}: expected a divisor of {channels}")
    if options["position"] != "post_ffn" and heads > 1 and options["block_diagonal"]:
        raise ValueError(
            f"model.hyper.position {options['position']!r} replaces a whole matrix: set "
            "model.hyper.block_diagonal=False, or num_heads=1"
        )
    if options["bounded"] and options["fusion"] != "mul":
        raise ValueError("model.hyper.bounded keeps a factor in (0, 2): it needs fusion='mul'")
