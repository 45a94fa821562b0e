"""Rendered streets, ``game`` and ``arcade`` to ``day``, for ``multi_domain_peers.py``."""

num_classes = 9
resize = []
streets = dict(type="mmext.StreetsDataset", data_root="data/streets")
reference = "data/streets/day/leftImg8bit/train"

sources = dict(game=dict(**streets, domain="game"), arcade=dict(**streets, domain="arcade"))
targets = dict(day=dict(**streets, domain="day"))
tested = dict(day=dict(**streets, domain="day", split="val"))
