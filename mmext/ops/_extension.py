"""Loads ``mmext._C``, the compiled kernels, or says once why the slow references run instead."""

import importlib
import warnings

import torch

_REMEDY = (
    "The pure-torch references run instead: same results, many times slower. To mend it, build "
    "the kernels for the torch that is installed: `python setup.py build_ext --inplace` in a "
    "source tree, `pip install --no-build-isolation --force-reinstall --no-deps mmext` otherwise."
)
# What builds of an older source lack.
_NEWEST = "_count_class_pairs"


def load() -> bool:
    """Register the compiled ops in ``torch.ops.mmext``.

    Returns:
        Whether they are available. If not, one warning gives the reason and the remedy.
    """
    try:
        importlib.import_module("mmext._C")
    except ModuleNotFoundError:
        warnings.warn(f"mmext's compiled ops are not built. {_REMEDY}", stacklevel=2)
        return False
    except ImportError as error:
        warnings.warn(
            f"mmext's compiled ops are built but do not load: {error}. {_REMEDY}", stacklevel=2
        )
        return False
    if not hasattr(torch.ops.mmext, _NEWEST):
        warnings.warn(
            f"mmext's compiled ops were built before {_NEWEST} was written. {_REMEDY}",
            stacklevel=2,
        )
        return False
    return True


LOADED = load()
