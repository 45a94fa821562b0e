"""Safe loading of checkpoints and converters from the authors' weights."""
