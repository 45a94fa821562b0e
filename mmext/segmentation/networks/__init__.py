"""Networks of segmentation across domains: segmentors, discriminators, image translation."""

from .adversarial_loss import AdversarialLoss, adversarial_loss
from .cyclegan import CycleGANGenerator, PatchDiscriminator
from .deeplabv2 import DeepLabV2Head, DeepLabV2ResNet
from .fcn8s import FCN8sVGG16, LogitsHead
from .image_pool import ImagePool
from .image_translator import ImageTranslator, TranslationDataPreprocessor
from .output_discriminator import OutputDiscriminator, entropy_map
from .probability import ProbabilityEncoderDecoder
from .semantic_distance import SemanticTerm, semantic_distance

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
    "adversarial_loss",
    "entropy_map",
    "semantic_distance",
]
