"""Rendered streets, ``game`` to ``day``, ``fog`` and ``night``, for ``multi_domain_peers.py``."""

_base_ = ["multi_domain_streets_day_fog.py"]

night = dict(type="mmext.StreetsDataset", data_root="data/streets", domain="night")
targets = dict(night=night)
tested = dict(night=dict(**night, split="val"))
