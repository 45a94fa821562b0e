"""The official evaluation of the adaptation papers: probabilities are enlarged, not logits."""

from typing import Any

import torch
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional

from mmext.registry import MODELS


@MODELS.register_module()
class ProbabilityEncoderDecoder(EncoderDecoder):
    """mmseg's ``EncoderDecoder``, predicting by enlarged probabilities instead of logits.

    Where mmseg enlarges logits to the size of the input and then to that of the original image, the
    official code of AdaptSegNet and BDL takes the softmax at the network's own stride and enlarges
    that once, to the original image; the class of a pixel is then the most probable one. Figures of
    these papers were measured so. Training and checkpoints are the same as those of
    ``EncoderDecoder``; with ``type='EncoderDecoder'`` the same weights are tested in mmseg's way.

    Padded inputs and sliding windows keep mmseg's two steps, both with probabilities.
    ``seg_logits`` of the predicted samples are logarithms of the probabilities: mmseg's test-time
    augmentation takes their softmax, which is the probabilities again.

    Args:
        **kwargs: As for mmseg's ``EncoderDecoder``.

    Raises:
        ValueError: The decode head has one output for two classes, which softmax cannot tell apart.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.out_channels == 1:
            raise ValueError(
                "decode_head.out_channels is 1. ProbabilityEncoderDecoder needs an output per "
                "class: set out_channels=2, or type='EncoderDecoder'."
            )

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Return the probabilities of the classes.

        Args:
            inputs: (B, 3, H, W) preprocessed images.
            batch_img_metas: One for each image, as mmseg gives them.

        Returns:
            (B, num_classes, H', W'), in the size of the original images where nothing was padded
            or cut, else of the inputs.

        Raises:
            TypeError: The decode head returns no logits from ``forward``.
        """
        logits = self.decode_head(self.extract_feat(inputs))
        if not isinstance(logits, Tensor):
            raise TypeError(
                f"{type(self.decode_head).__name__} returns a {type(logits).__name__}. "
                "ProbabilityEncoderDecoder needs a head that returns (B, num_classes, H, W) "
                "logits: set type='EncoderDecoder'."
            )
        return functional.interpolate(
            logits.float().softmax(1),
            self._target_size(inputs, batch_img_metas),
            mode="bilinear",
            align_corners=self.align_corners,
        )

    def postprocess_result(
        self, seg_logits: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Find the classes, as mmseg does, and give the samples log-probabilities.

        Args:
            seg_logits: (B, num_classes, H, W) probabilities.
            data_samples: One for each image; None makes new ones.

        Returns:
            The samples with ``pred_sem_seg`` and ``seg_logits``, in the size of the originals.
        """
        samples = super().postprocess_result(seg_logits, data_samples)
        for sample in samples:
            probabilities = sample.seg_logits.data
            tiny = torch.finfo(probabilities.dtype).tiny
            sample.seg_logits.data = probabilities.clamp(min=tiny).log_()
        return samples

    def _target_size(self, inputs: Tensor, batch_img_metas: list[dict]) -> tuple[int, int]:
        """Return the originals' size, if scaling alone leads there; else the inputs' size."""
        sizes = {tuple(meta["ori_shape"][:2]) for meta in batch_img_metas}
        padded = any(
            any(meta.get("img_padding_size", meta.get("padding_size", ())))
            for meta in batch_img_metas
        )
        if len(sizes) > 1 or padded or self.test_cfg.get("mode") == "slide":
            return tuple(inputs.shape[2:])
        return sizes.pop()
