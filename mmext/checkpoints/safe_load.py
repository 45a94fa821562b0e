"""Loading checkpoints that somebody else made, without running what they may carry.

A ``.pth`` file is a pickle, and a pickle may run any code when it is read. torch can refuse
everything but tensors and plain values (``weights_only``); mmengine 0.10.12 falls back to the
unsafe way when that fails, and downloads are read the unsafe way at once. Here the safe way is the
only one unless the user says otherwise.
"""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import get_torch_safe_globals

TRUST_FLAG = "--trust-checkpoint"


class UnsafeCheckpointError(RuntimeError):
    """A checkpoint holds more than tensors and plain values."""


def load_untrusted(
    path: str | os.PathLike | BinaryIO,
    *,
    trust: bool = False,
    allowed: Sequence[type] = (),
    map_location: Any = "cpu",
) -> Any:
    """Load a checkpoint file, refusing anything but tensors and plain values.

    Args:
        path: File name or open binary file.
        trust: Read the file with the unrestricted unpickler. Only for files whose origin is known:
            they can run any code.
        allowed: Classes that the file may hold besides; they must do no harm when they are made.
        map_location: As for :func:`torch.load`.

    Returns:
        What the file holds, usually a dict with ``state_dict``.

    Raises:
        FileNotFoundError: The file does not exist.
        UnsafeCheckpointError: The file asks for code to be run; the message names the flag
            that allows it.
        ValueError: The file is no checkpoint at all, or is cut off.
    """
    name = path if isinstance(path, (str, os.PathLike)) else getattr(path, "name", "(open file)")
    if isinstance(path, (str, os.PathLike)):
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"checkpoint {path} does not exist. Expected a .pth file; check the path, or look "
                "in the work directory (its file 'last_checkpoint' names the newest one)."
            )
    try:
        harmless = [] if trust else [*get_torch_safe_globals(), *allowed]
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location=map_location, weights_only=not trust)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):  # no pickle at all, an HTML page say
            raise ValueError(_damaged(name, error)) from error
        raise UnsafeCheckpointError(
            f"checkpoint {name} holds more than tensors and plain values, so reading it could run "
            f"code of whoever made it ({_reason(error)}). If you know where the file comes from, "
            f"allow it with {TRUST_FLAG} (in Python: trust=True)."
        ) from error
    except (EOFError, RuntimeError, KeyError) as error:
        raise ValueError(_damaged(name, error)) from error


def _reason(error: Exception) -> str:
    """Return the one line of torch's long message that says what the file asked for."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "GLOBAL" in line or "WeightsUnpickler error" in line]
    return (telling or lines)[0].rstrip(".")


def _damaged(name: Any, error: Exception) -> str:
    return (
        f"{name} is not a readable torch checkpoint ({type(error).__name__}). Expected a file "
        "written by torch.save; if it was downloaded or copied, do that again."
    )


def install_safe_loading(*, trust: bool = False) -> None:
    """Make every checkpoint loader of mmengine (local, http, model zoo) refuse unsafe files.

    All of mmengine's URL schemes read through two functions of ``mmengine.runner.checkpoint``;
    both are replaced for this process. Called by mmext's tools and by
    :class:`mmext.engine.Runner`, never by ``import mmext``.

    Args:
        trust: The user's explicit choice to read files with the unrestricted unpickler.
    """

    def load_file(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        return load_untrusted(file, trust=trust, map_location=map_location)

    def load_url(
        url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True
    ) -> Any:
        folder = Path(model_dir or Path(torch.hub.get_dir()) / "checkpoints")
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / Path(url.split("?")[0]).name
        if not target.exists():  # written to a temporary file and renamed by torch.hub
            torch.hub.download_url_to_file(url, str(target), progress=progress)
        return load_untrusted(target, trust=trust, map_location=map_location)

    for name, replacement in (("_safe_torch_load", load_file), ("load_url", load_url)):
        if not hasattr(mmengine_checkpoint, name):
            raise ImportError(
                f"mmengine.runner.checkpoint has no {name!r} any more, so checkpoints cannot be "
                "loaded safely with this mmengine. Expected onedl-mmengine 0.10.12; install that "
                "version or report it."
            )
        setattr(mmengine_checkpoint, name, replacement)
