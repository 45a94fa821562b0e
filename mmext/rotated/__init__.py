"""Rotated boxes. Importing this package registers its parts."""
