"""Data of street scenes, one domain or several; importing this package registers its parts."""

from .blur import RandomGaussianBlur
from .checks import check_segmentation_dataset
from .class_sets import CLASS_SETS, ClassSet, class_set
from .driving import (
    CamVidDataset,
    CityscapesDataset,
    GTA5Dataset,
    IDDDataset,
    IDDLiteDataset,
    MapillaryDataset,
    StreetsDataset,
    SynscapesDataset,
    SynthiaDataset,
)
from .folders import FolderSegDataset
from .label_tables import LABEL_TABLES, LabelTable, label_table
from .loading import LoadLabelIds
from .multi_domain import DomainConcatDataset, MultiDomainDataset, MultiDomainSampler
from .pseudo import PseudoLabelDataset
from .rare_classes import RareClasses
from .style import FDATransfer, LABStatTransfer

__all__ = [
    "CLASS_SETS",
    "LABEL_TABLES",
    "CamVidDataset",
    "CityscapesDataset",
    "ClassSet",
    "DomainConcatDataset",
    "FDATransfer",
    "FolderSegDataset",
    "GTA5Dataset",
    "IDDDataset",
    "IDDLiteDataset",
    "LABStatTransfer",
    "LabelTable",
    "LoadLabelIds",
    "MapillaryDataset",
    "MultiDomainDataset",
    "MultiDomainSampler",
    "PseudoLabelDataset",
    "RandomGaussianBlur",
    "RareClasses",
    "StreetsDataset",
    "SynscapesDataset",
    "SynthiaDataset",
    "check_segmentation_dataset",
    "class_set",
    "label_table",
]
