"""Semantic segmentation and its adaptation; importing this package registers its parts."""

from mmext.engine import import_host

import_host("mmseg")  # silences a misleading line that it prints

from . import adaptation, datasets  # noqa: E402
from .metrics import UDAIoUMetric  # noqa: E402
from .networks import (  # noqa: E402
    AdversarialLoss,
    CycleGANGenerator,
    DeepLabV2Head,
    DeepLabV2ResNet,
    FCN8sVGG16,
    ImagePool,
    ImageTranslator,
    LogitsHead,
    OutputDiscriminator,
    PatchDiscriminator,
    ProbabilityEncoderDecoder,
    SemanticTerm,
    TranslationDataPreprocessor,
    adversarial_loss,
    entropy_map,
    semantic_distance,
)

__all__ = [
    "AdversarialLoss",
    "CycleGANGenerator",
    "DeepLabV2Head",
    "DeepLabV2ResNet",
    "FCN8sVGG16",
    "ImagePool",
    "ImageTranslator",
    "LogitsHead",
    "OutputDiscriminator",
    "PatchDiscriminator",
    "ProbabilityEncoderDecoder",
    "SemanticTerm",
    "TranslationDataPreprocessor",
    "UDAIoUMetric",
    "adaptation",
    "adversarial_loss",
    "datasets",
    "entropy_map",
    "semantic_distance",
]
