"""Custom operators: each file holds one op, its typed wrapper and its pure-torch reference."""

from .biased_attention import biased_attention
from .box3d_iou import box3d_iou
from .confusion_matrix import confusion_matrix
from .corner_pool import corner_pool
from .deform_conv import deform_conv2d
from .deform_conv_layers import DCN, DCNv2
from .gaussian_distance import gaussian_distance
from .gelu_dwconv_gelu import gelu_dwconv_gelu
from .nms3d import nms3d
from .point_gather import gather_points, group_points, three_interpolate
from .point_neighbors import ball_query, knn, three_nn
from .point_sampling import furthest_point_sample
from .points_in_boxes import points_in_boxes
from .rotated_iou import rotated_iou

__all__ = [
    "DCN",
    "DCNv2",
    "ball_query",
    "biased_attention",
    "box3d_iou",
    "confusion_matrix",
    "corner_pool",
    "deform_conv2d",
    "furthest_point_sample",
    "gather_points",
    "gaussian_distance",
    "gelu_dwconv_gelu",
    "group_points",
    "knn",
    "nms3d",
    "points_in_boxes",
    "rotated_iou",
    "three_interpolate",
    "three_nn",
]
