"""Oriented 3-D boxes and the samples that hold them."""
