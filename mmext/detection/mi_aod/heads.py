"""The heads that MI-AOD was published with."""

from collections.abc import Sequence
from typing import Any, Literal

from mmdet.models.dense_heads import RetinaHead, SSDHead
from mmdet.utils import OptMultiConfig
from torch import Tensor

from mmext.registry import MODELS

from .mixin import MIL, SECOND, MIAODMixin
from .switches import Source

MILInit = Literal["kaiming", "normal"]


@MODELS.register_module()
class MIAODRetinaHead(MIAODMixin, RetinaHead):
    """mmdet's ``RetinaHead`` with MI-AOD's classifiers and stages, see :class:`MIAODMixin`.

    Args:
        *args (Any): Of mmdet's ``RetinaHead``.
        faithful (str): ``code`` or ``paper``.
        mil_init (str | None): How the convolutions below f_mil start: ``kaiming`` (code, which
            leaves them out of its initialisation) or ``normal`` with a deviation of 0.01 like those
            of all other branches (paper, which does not mention it).
        init_cfg (dict | list[dict] | None): For mmengine, in place of the initialisation above.
        **kwargs (Any): Of :class:`MIAODMixin` and mmdet's ``RetinaHead``.
    """

    cls_branch = ("cls_convs", "retina_cls")

    def __init__(
        self,
        *args: Any,
        faithful: Source = "code",
        mil_init: MILInit | None = None,
        init_cfg: OptMultiConfig = None,
        **kwargs: Any,
    ) -> None:
        if mil_init not in (None, "kaiming", "normal"):
            raise ValueError(f"mil_init must be 'kaiming' or 'normal', got {mil_init!r}.")
        own_init = init_cfg is not None
        super().__init__(
            *args, faithful=faithful, init_cfg=init_cfg if own_init else _retina_init(), **kwargs
        )
        mil_init = mil_init or ("kaiming" if faithful == "code" else "normal")
        self._kaiming_mil = mil_init == "kaiming" and not own_init

    def init_weights(self) -> None:
        """Initialise as the official code does, see ``mil_init``."""
        first = not self.is_init
        super().init_weights()
        if first and self._kaiming_mil:
            for layer in self.f_mil_cls_convs:
                layer.init_weights()


def _retina_init() -> dict:
    """Return how RetinaNet starts: small weights, and scores at a probability of 0.01."""
    outputs = [f"{prefix}retina_cls" for prefix in ("", SECOND, MIL)]
    overrides = [dict(type="Normal", name=name, std=0.01, bias_prob=0.01) for name in outputs]
    return dict(type="Normal", layer="Conv2d", std=0.01, override=overrides)


@MODELS.register_module()
class MIAODSSDHead(MIAODMixin, SSDHead):
    """mmdet's ``SSDHead`` with MI-AOD's classifiers and stages, see :class:`MIAODMixin`.

    Its classifiers are trained with a softmax, the background last; so are discrepancies. Pseudo
    labels and, with ``score_sigmoid``, image scores take sigmoids of the same logits.

    Args:
        *args (Any): Of mmdet's ``SSDHead``.
        **kwargs (Any): Of :class:`MIAODMixin` and mmdet's ``SSDHead``.
    """

    cls_branch = ("cls_convs",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # mmdet 3.5.1 asks every head for it when it predicts, and SSDHead has none.
        self.loss_cls = None

    def branch_scores(self, feats: Sequence[Tensor], prefix: str) -> list[Tensor]:
        """Scores of one classifier, which has its own layers for each level.

        Args:
            feats (Sequence[Tensor]): (B, C, H, W) of each level.
            prefix (str): Nothing, ``f_2_`` or ``f_mil_``.

        Returns:
            list[Tensor]: (B, N * K, H, W) of each level.
        """
        (layers,) = (getattr(self, prefix + name) for name in self.cls_branch)
        return [layer(feat) for layer, feat in zip(layers, feats, strict=True)]
