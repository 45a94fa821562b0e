"""Acquisitions: which images are labelled next."""

from .base import Acquisition, Descriptors, Random, ScoreAcquisition, Selection

__all__ = ["Acquisition", "Descriptors", "Random", "ScoreAcquisition", "Selection"]
