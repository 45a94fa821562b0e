"""Several segmentors as one: predictions by all of them together, or by one."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from mmengine.model import ModuleDict
from mmengine.structures import PixelData
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmext.registry import MODELS

from .segmentors import computed_once, enlarged_logits, raw_logits

ENSEMBLE = "ensemble"


@MODELS.register_module()
class SegmentorEnsemble(BaseSegmentor):
    """Any number of segmentors with the same classes, tested together or one of them alone.

    Together they predict the mean of their probabilities. ``seg_logits`` of the samples are then
    logarithms of probabilities: their softmax is the probabilities again.

    All images go through the data preprocessor of the first member.

    Args:
        members: Config of any segmentor of mmseg's for each name.
        test: ``'ensemble'``, or the name of the member that is tested alone.
        share_backbone: Whether all members take the backbone of the first one, which is then run
            once for each image; necks and heads stay their own. In the state dict it is below the
            name of each member, so that each can be taken out.
        init_cfg: As for :class:`mmengine.model.BaseModule`.

    Raises:
        TypeError: A member is no segmentor.
        ValueError: There is no member, ``test`` is not one of them, or they have other classes.
    """

    def __init__(
        self,
        *,
        members: Mapping[str, dict],
        test: str = ENSEMBLE,
        share_backbone: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        if not members or ENSEMBLE in members or test not in (ENSEMBLE, *members):
            raise ValueError(
                f"SegmentorEnsemble has the members {list(members)} and test={test!r}. Expected at "
                f"least one member, none of the name {ENSEMBLE!r}, and test={ENSEMBLE!r} or the "
                "name of a member."
            )
        built = {name: MODELS.build(config) for name, config in members.items()}
        first = next(iter(built.values()))
        for name, member in built.items():
            _require_fit(name, member, first)
        super().__init__(first.data_preprocessor, init_cfg)
        self.members: Mapping[str, BaseSegmentor] = ModuleDict(built)
        self.test = test
        self.share_backbone = share_backbone
        if share_backbone:
            for member in built.values():
                member.backbone = first.backbone

    @property
    def align_corners(self) -> bool:
        """How logits are enlarged, as the first member has it."""
        return next(iter(self.members.values())).align_corners

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return next(iter(self.members.values())).num_classes

    @contextlib.contextmanager
    def one_pass(self) -> Iterator[None]:
        """Let a backbone in common see each image once within the block, whichever member asks."""
        with contextlib.ExitStack() as stack:
            if self.share_backbone:
                stack.enter_context(computed_once(next(iter(self.members.values())).backbone))
            yield

    def predict(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Predict the classes of images.

        Args:
            inputs: (B, 3, H, W) preprocessed images.
            data_samples: One for each image; None: in the size of the inputs.

        Returns:
            The samples with ``pred_sem_seg`` and ``seg_logits``, in the size of the originals.
        """
        if self.test != ENSEMBLE:
            return self.members[self.test].predict(inputs, data_samples)
        sums: list[Tensor] = []
        with self.one_pass():
            for member in self.members.values():
                samples = member.predict(inputs, data_samples)
                found = [sample.seg_logits.data.float().softmax(0) for sample in samples]
                sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
        for sample, total in zip(samples, sums, strict=True):
            logits = _log_of_mean(total, len(self.members))
            sample.seg_logits = PixelData(data=logits)
            sample.pred_sem_seg = PixelData(data=logits.argmax(0, keepdim=True))
        return samples

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict[str, Tensor]:
        """Return the losses of every member on the same images, by its name.

        Args:
            inputs: (B, 3, H, W) preprocessed images.
            data_samples: With labels.
        """
        found = {}
        with self.one_pass():
            for name, member in self.members.items():
                losses = member.loss(inputs, list(data_samples))
                found |= {f"{name}.{key}": value for key, value in losses.items()}
        return found

    def extract_feat(self, inputs: Tensor) -> dict[str, object]:
        """Return the features of each member."""
        with self.one_pass():
            return {name: member.extract_feat(inputs) for name, member in self.members.items()}

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return what :meth:`_forward` does in the size of the inputs.

        Args:
            inputs: (B, 3, H, W) preprocessed images.
            batch_img_metas: Not looked at.

        Returns:
            (B, C, H, W).
        """
        return enlarged_logits(self._forward(inputs), inputs.shape[2:], self.align_corners)

    def _forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> Tensor:
        """Return (B, C, h, w) log-probabilities, or logits, at the networks' own stride."""
        names = list(self.members) if self.test == ENSEMBLE else [self.test]
        with self.one_pass():
            found = [raw_logits(self.members[name], inputs) for name in names]
        return found[0] if len(found) == 1 else mean_log_probabilities(found)


def mean_log_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of several models' probabilities.

    Args:
        logits: (B, C, H, W) of each model.

    Returns:
        (B, C, H, W), float32.
    """
    return _log_of_mean(sum(part.float().softmax(1) for part in logits), len(logits))


def _log_of_mean(total: Tensor, count: int) -> Tensor:
    return (total / count).clamp(min=torch.finfo(total.dtype).tiny).log()


def _require_fit(name: str, member: nn.Module, first: nn.Module) -> None:
    if not isinstance(member, BaseSegmentor):
        raise TypeError(
            f"segmentor.members.{name} builds a {type(member).__name__}. Expected a segmentor of "
            "mmseg's, such as type='EncoderDecoder'."
        )
    outputs = member.out_channels, first.out_channels
    if outputs[0] != outputs[1] or outputs[0] == 1:
        raise ValueError(
            f"segmentor.members.{name} has {outputs[0]} outputs, the first member {outputs[1]}. "
            "Expected as many for all, one per class: set decode_head.num_classes, and "
            "out_channels=2 for two classes."
        )
