"""Which checkpoint a training goes on with."""

import re
from pathlib import Path

_SAVED = re.compile(r"(iter|epoch|cycle)_\d+\.pth")


def newest_checkpoint(work_dir: str | Path) -> str | None:
    """Return the checkpoint that ``--resume`` goes on with.

    The file ``last_checkpoint`` names it. A run that was killed while it wrote that file leaves it
    empty or old, and one that was moved to another folder leaves it wrong: then the newest of the
    checkpoints that hooks and campaigns saved counts.

    Args:
        work_dir: Folder of the run.

    Returns:
        Path or address of the checkpoint; None if there is none.
    """
    folder = Path(work_dir)
    pointer = folder / "last_checkpoint"
    named = pointer.read_text().strip() if pointer.is_file() else ""
    if "://" in named or (named and Path(named).is_file()):
        return named
    saved = [path for path in folder.glob("*.pth") if _SAVED.fullmatch(path.name)]
    return str(max(saved, key=lambda path: path.stat().st_mtime)) if saved else None
