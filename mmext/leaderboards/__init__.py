"""Submission writers and local evaluators, one file per benchmark."""
