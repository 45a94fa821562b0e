"""Benchmarks: their files, submissions and figures, one module each.

Each module has ``CLASSES`` or ``class_names``, ``read_ground_truth`` and ``evaluate``. What they
share is :mod:`mmext.leaderboards.rotated_ap`, above :mod:`mmext.rotated.evaluation`.
"""
