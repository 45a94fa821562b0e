"""Adaptation of segmentation models; importing this package registers its parts."""

from .bdl import BDL
from .bdl_schedule import BDLSchedule
from .class_mix import ClassMixAdaptation
from .dual_level import RegionMixing, TeacherDistillation
from .dual_level_schedule import DualLevelSchedule
from .duplicate_params import DuplicateParamsConstructor
from .ensemble import SegmentorEnsemble
from .entropy import EntropyMinimization
from .export import export_segmentor, segmentor_config
from .multi_source import MultiSourceAdaptation
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
    "MultiDomainDataPreprocessor",
    "MultiSourceAdaptation",
    "RegionMixing",
    "SegmentorEnsemble",
    "TeacherDistillation",
    "export_segmentor",
    "segmentor_config",
]
