"""Safe loading of checkpoints and converters from the authors' weights."""

from .safe_load import UnsafeCheckpointError, install_safe_loading, load_untrusted

__all__ = ["UnsafeCheckpointError", "install_safe_loading", "load_untrusted"]
