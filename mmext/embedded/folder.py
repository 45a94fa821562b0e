"""Writing a data set's folder so that it is there complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_folder(root: Path, write: Callable[[Path], None], what: str) -> None:
    """Build a folder under a temporary name beside ``root`` and rename it when it is complete.

    A folder that an earlier call wrote (it has ``manifest.json``) is replaced.

    Args:
        root: Folder to write.
        write: Gets the temporary folder, which exists and is empty, and fills it; writes
            ``manifest.json`` into it.
        what: What the folder holds, for the message.

    Raises:
        FileExistsError: ``root`` holds something that no such call wrote.
    """
    if root.exists() and any(root.iterdir()) and not (root / "manifest.json").is_file():
        raise FileExistsError(
            f"{root} holds other files: remove it or name another folder for the {what}"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        write(building)
        building.chmod(0o755)  # mkdtemp's folders are private
        if root.exists():
            shutil.rmtree(root)
        os.replace(building, root)
    finally:
        shutil.rmtree(building, ignore_errors=True)
