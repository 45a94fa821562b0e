"""Importing the host packages (mmdet, mmseg, mmrotate) where something small stands in the way."""

import contextlib
import importlib
import importlib.util
import io
import sys
from collections.abc import Iterator
from types import ModuleType

# Printed by the forks at every import, about a commercial data service that nobody asked for.
_NOISE = "Could not import OneDL"


def import_host(scope: str) -> None:
    """Import the data sets and models of a host package, so that its registries are filled.

    mmrotate imports torchvision, of which it uses one function in one detector; without
    torchvision the import runs over :func:`torchvision_standin`.

    Args:
        scope: ``'mmdet'``, ``'mmseg'`` or ``'mmrotate'``; other scopes need nothing.
    """
    if scope not in ("mmdet", "mmseg", "mmrotate"):
        return
    with _without_noise():
        importlib.import_module("mmdet.datasets" if scope == "mmrotate" else f"{scope}.datasets")
        if scope == "mmrotate":
            with torchvision_standin():
                importlib.import_module("mmrotate.models")
            importlib.import_module("mmrotate.datasets")


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Hold back one misleading line; everything else that is printed meanwhile is passed on."""
    held = io.StringIO()
    try:
        with contextlib.redirect_stdout(held):
            yield
    finally:
        kept = [line for line in held.getvalue().splitlines() if not line.startswith(_NOISE)]
        if kept:
            print("\n".join(kept))


@contextlib.contextmanager
def torchvision_standin() -> Iterator[None]:
    """Let ``from torchvision import transforms`` succeed while the block runs.

    A real torchvision always wins: then nothing is done. The stand-in is taken away at the end, so
    that code which tries ``import torchvision`` to see whether it is there gets a true answer. A
    module that kept a part of it raises an ImportError that names the remedy when it uses the part.
    """
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    package = _StandIn("torchvision")
    package.transforms = _StandIn("torchvision.transforms")
    names = {"torchvision": package, "torchvision.transforms": package.transforms}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


class _StandIn(ModuleType):
    """A module without content; using it says what is missing."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # Python's own questions about a module
            raise AttributeError(name)
        raise ImportError(
            f"{self.__name__}.{name} is needed here, but torchvision is not installed. Install the "
            "torchvision that matches your torch (`pip install torchvision`)."
        )
