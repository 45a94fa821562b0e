"""Evaluation of rotated boxes: AP as DOTA's devkit computes it, patches, submission files."""

from .average_precision import APResult, Curve, Matches, match, score_matches
from .dota_files import read_ground_truth, read_labels, read_task_files, write_task_zip
from .metric import RotatedDetectionMetric
from .patches import merge_patches, parse_patch_name, patch_name
from .quads import to_corners
from .records import Detections, GroundTruth, join_detections, join_ground_truth
from .report import format_table, write_report
from .suppression import suppress

__all__ = [
    "APResult",
    "Curve",
    "Detections",
    "GroundTruth",
    "Matches",
    "RotatedDetectionMetric",
    "format_table",
    "join_detections",
    "join_ground_truth",
    "match",
    "merge_patches",
    "parse_patch_name",
    "patch_name",
    "read_ground_truth",
    "read_labels",
    "read_task_files",
    "score_matches",
    "suppress",
    "to_corners",
    "write_report",
    "write_task_zip",
]
