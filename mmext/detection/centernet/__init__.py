"""CenterNet++ (arXiv 2204.08394): detection from quarter boxes that must agree on a centre."""
