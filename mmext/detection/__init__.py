"""2-D detectors; importing this package registers them."""
