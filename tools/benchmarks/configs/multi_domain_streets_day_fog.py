"""Rendered streets, ``game`` to ``day`` and ``fog``, for ``multi_domain_peers.py``."""

num_classes = 9
resize = []
streets = dict(type="mmext.StreetsDataset", data_root="data/streets")

sources = dict(game=dict(**streets, domain="game"))
targets = dict(day=dict(**streets, domain="day"), fog=dict(**streets, domain="fog"))
tested = dict(
    day=dict(**streets, domain="day", split="val"),
    fog=dict(**streets, domain="fog", split="val"),
)
