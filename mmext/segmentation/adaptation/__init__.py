"""Adaptation of segmentation models; importing this package registers its parts."""

from .bdl import BDL
from .bdl_schedule import BDLSchedule
from .bridge import LABBridge
from .consistency import entropy_loss, parameter_distance, pixel_kl
from .duplicate_params import DuplicateParamsConstructor
from .export import export_segmentor, segmentor_config
from .multi_target import MultiTargetAdaptation
from .preprocessor import MultiDomainDataPreprocessor
from .wrapper import AdaptationModel

__all__ = [
    "BDL",
    "AdaptationModel",
    "BDLSchedule",
    "DuplicateParamsConstructor",
    "LABBridge",
    "MultiDomainDataPreprocessor",
    "MultiTargetAdaptation",
    "entropy_loss",
    "export_segmentor",
    "parameter_distance",
    "pixel_kl",
    "segmentor_config",
]
