"""Image restoration; importing this package registers its parts."""

from .data_preprocessor import RestorationDataPreprocessor
from .datasets import PairedImageDataset, UnpairedImageDataset
from .losses import CharbonnierLoss, FrequencyLoss, PSNRLoss
from .metrics import PSNR, SSIM
from .pair_check import check_image_dataset
from .restorer import ImageRestorer
from .tiling import tiled_forward
from .transforms import (
    LoadImagePair,
    PackRestorationInputs,
    PairedCenterCrop,
    PairedRandomCrop,
    RandomChannelOrder,
    RandomDihedral,
)
from .uformer import Uformer
from .visualizer import RestorationVisualizationHook, RestorationVisualizer

__all__ = [
    "PSNR",
    "SSIM",
    "CharbonnierLoss",
    "FrequencyLoss",
    "ImageRestorer",
    "LoadImagePair",
    "PSNRLoss",
    "PackRestorationInputs",
    "PairedCenterCrop",
    "PairedImageDataset",
    "PairedRandomCrop",
    "RandomChannelOrder",
    "RandomDihedral",
    "RestorationDataPreprocessor",
    "RestorationVisualizationHook",
    "RestorationVisualizer",
    "Uformer",
    "UnpairedImageDataset",
    "check_image_dataset",
    "tiled_forward",
]
