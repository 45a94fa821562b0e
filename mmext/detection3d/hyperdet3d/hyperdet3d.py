"""A reconstruction of the detector HyperDet3D, which has no public code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmext.registry import MODELS

from ..group_free3d import GroupFree3D
from ..group_free3d.group_free3d import Losses
from ..group_free3d.point_net2 import Seeds
from ..group_free3d.prediction import Stage
from .hypernetwork import SceneHypernetwork, SceneWeights


class SceneBranch(nn.Module):
    """What stands around a generated layer behind the feed-forward layers.

    Norm in front, so that a branch of zeros changes nothing.

    Args:
        channels: C.
        dropout: Probability behind the branch.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.out = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)


@MODELS.register_module()
class HyperDet3D(GroupFree3D):
    """HyperDet3D: Learning a Scene-conditioned 3D Object Detector (CVPR 2022), reconstructed.

    A Group-Free-3D whose decoder layers have weights that hypernetworks make for each scene: from
    learned embeddings (scene-agnostic), times weights from embeddings that the scene asks for
    (scene-specific). No code was published, and we know the paper's method from descriptions:
    that there are these two hypernetworks, that their weights are multiplied, and that only the
    detector's losses train them. Widths, numbers of embeddings, which layer is generated, and how
    everything starts are our choice.

    It starts as exactly the Group-Free-3D with the same weights, so weights of Group-Free-3D are a
    start for it (``load_from``).

    Args:
        hyper: Options of :class:`~.hypernetwork.SceneHypernetwork`. ``position`` says what is
            generated: ``post_ffn`` (default), a layer in a residual branch behind each decoder
            layer, whose last linear layer starts with zeros; ``ffn_in``, the first C hidden
            channels of its feed-forward layers; ``pred_in``, the first convolution of its
            prediction head. In the last two the layer's own weights are the start of the
            scene-agnostic ones.
        **kwargs: Of :class:`mmext.detection3d.GroupFree3D`.
    """

    def __init__(self, *, hyper: dict | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        hyper = dict(hyper or {})
        channels, layers = self.backbone.out_channels, self.decoder.layers
        self.position = hyper.get("position", "post_ffn")
        # The names bring it into the optimiser's group of the decoder.
        self.decoder_hyper = SceneHypernetwork(channels, len(layers), **hyper)
        self.decoder_branches = None
        if self.position == "post_ffn":
            dropout = layers[0].dropout.p
            self.decoder_branches = nn.ModuleList(SceneBranch(channels, dropout) for _ in layers)
        self._frozen: SceneWeights | None = None

    def prepare(self, points: Tensor, seeds: Seeds) -> SceneWeights:
        """Make the weights of all layers for each scene; see the base class."""
        if self._frozen is not None:
            return self._frozen
        base = None
        if self.position == "ffn_in":
            own = (layer.linear1.weight for layer in self.decoder.layers)
            base = torch.stack([weight[: self.backbone.out_channels] for weight in own])
        elif self.position == "pred_in":
            own = (head.conv1.weight for head in self.prediction_heads)
            base = torch.stack([weight[..., 0] for weight in own])
        return self.decoder_hyper(seeds.centres, seeds.features, base)

    def run_layer(
        self, number: int, inputs: tuple[Tensor, ...], points: Tensor, context: SceneWeights
    ) -> tuple[Tensor, Stage]:
        """Refine the candidates with weights of their scene, and predict; see the base class."""
        layer, head = self.decoder.layers[number], self.prediction_heads[number]

        def generated(x: Tensor) -> Tensor:
            return self.decoder_hyper.apply_layer(context, number, x)

        def hidden(x: Tensor) -> Tensor:
            channels = x.shape[-1]
            first = generated(x) + layer.linear1.bias[:channels]
            rest = nn.functional.linear(
                x, layer.linear1.weight[channels:], layer.linear1.bias[channels:]
            )
            return torch.cat((first, rest), -1)

        def conv1(x: Tensor) -> Tensor:
            return generated(x.transpose(1, 2)).transpose(1, 2) + head.conv1.bias[:, None]

        query = layer(*inputs, hidden=hidden if self.position == "ffn_in" else None)
        if self.position == "post_ffn":
            branch = self.decoder_branches[number]
            query = query + branch.dropout(branch.out(torch.relu(generated(branch.norm(query)))))
        first = conv1 if self.position == "pred_in" else None
        return query, head(query.transpose(1, 2), points, first=first)

    def loss(self, points: Tensor, samples: list) -> Losses:
        """Return the losses by name; see the base class."""
        if self._frozen is not None:
            raise RuntimeError(
                "HyperDet3D.loss within freeze_scene: weights of one scene can only predict"
            )
        return super().loss(points, samples)

    @contextmanager
    def freeze_scene(self, points: Tensor) -> Iterator[SceneWeights]:
        """Keep the weights of a scene for all that is predicted inside, other scenes too.

        The model is then an ordinary network, to be exported or to ask what a scene's weights do
        on another one.

        Args:
            points: (1, N, 3 + f), the scene.

        Yields:
            Its weights.
        """
        with torch.no_grad():
            seeds = self.backbone(points)
            self._frozen = self.prepare(points, seeds)
        try:
            yield self._frozen
        finally:
            self._frozen = None

    @torch.no_grad()
    def diagnose(self, points: Tensor) -> dict[str, float]:
        """Tell whether the hypernetworks look at the scene at all.

        Args:
            points: (B, N, 3 + f), several scenes.

        Returns:
            ``attention_entropy``: of the scenes' attention, relative to a uniform one, so from 0 to
            1. ``specific_spread``: standard deviation of the scene-specific weights over scenes, a
            mean over weights; 0 if all scenes get the same.

        Raises:
            ValueError: The weights are scene-agnostic.
        """
        weights = self.prepare(points, self.backbone(points))
        if weights.attention is None:
            raise ValueError("HyperDet3D.diagnose: model.hyper.fusion is 'agnostic'")
        attention = weights.attention
        entropy = torch.special.entr(attention).sum(-1) / torch.tensor(attention.shape[-1]).log()
        spread = weights.specific.std(0, unbiased=False).mean()
        return dict(attention_entropy=entropy.mean().item(), specific_spread=spread.item())
