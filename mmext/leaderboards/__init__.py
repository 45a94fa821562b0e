"""Benchmarks: their files, submissions and figures, one module each.

Each module has ``CLASSES`` or ``class_names``, and ``read_ground_truth`` and ``evaluate``; those of
rotated boxes share :mod:`mmext.leaderboards.rotated_ap`, above :mod:`mmext.rotated.evaluation`.
COCO's figures are in :mod:`mmext.leaderboards.coco_ap`.
"""
