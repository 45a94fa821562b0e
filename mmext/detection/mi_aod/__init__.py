"""MI-AOD, multiple instance active object detection (arXiv 2104.02324)."""

from .discrepancy import discrepancy_loss, image_uncertainty
from .heads import MIAODRetinaHead, MIAODSSDHead
from .mixin import MIAODMixin
from .multiple_instance import (
    image_class_loss,
    image_class_scores,
    image_class_targets,
    instance_scores,
    pseudo_class_targets,
)

__all__ = [
    "MIAODMixin",
    "MIAODRetinaHead",
    "MIAODSSDHead",
    "discrepancy_loss",
    "image_class_loss",
    "image_class_scores",
    "image_class_targets",
    "image_uncertainty",
    "instance_scores",
    "pseudo_class_targets",
]
