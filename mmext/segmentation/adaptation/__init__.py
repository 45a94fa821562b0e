"""Adaptation of segmentation models; importing this package registers its parts."""

from .bdl import BDL
from .bdl_schedule import BDLSchedule
from .bridge import LABBridge
from .class_mix import ClassMixAdaptation
from .consistency import entropy_loss, parameter_distance, pixel_kl
from .dual_level import RegionMixing, TeacherDistillation
from .dual_level_schedule import DualLevelSchedule
from .duplicate_params import DuplicateParamsConstructor
from .ensemble import SegmentorEnsemble
from .entropy import EntropyMinimization
from .export import export_segmentor, segmentor_config
from .multi_source import MultiSourceAdaptation
from .multi_target import MultiTargetAdaptation
from .preprocessor import MultiDomainDataPreprocessor
from .wrapper import AdaptationModel

__all__ = [
    "BDL",
    "AdaptationModel",
    "BDLSchedule",
    "ClassMixAdaptation",
    "DualLevelSchedule",
    "DuplicateParamsConstructor",
    "EntropyMinimization",
    "LABBridge",
    "MultiDomainDataPreprocessor",
    "MultiSourceAdaptation",
    "MultiTargetAdaptation",
    "RegionMixing",
    "SegmentorEnsemble",
    "TeacherDistillation",
    "entropy_loss",
    "export_segmentor",
    "parameter_distance",
    "pixel_kl",
    "segmentor_config",
]
