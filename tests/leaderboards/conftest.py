"""The pair of images whose official figures are known."""

from official_restoration import official, pair

__all__ = ["official", "pair"]
