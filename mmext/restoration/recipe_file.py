"""A folder of prepared data knows how it was made."""

import json
from pathlib import Path

from mmext.files import write_file


def claim_folder(folder: Path, recipe: dict) -> None:
    """Note in a folder how its files are made, or check that it is the same as before.

    So an interrupted preparation goes on, and files of two recipes are never mixed.

    Args:
        folder: Folder to write to; it need not exist.
        recipe: Plain values that decide what the files are.

    Raises:
        FileExistsError: The folder holds files that were made otherwise.
    """
    note = folder / "recipe.json"
    if note.is_file():
        before = json.loads(note.read_text())
        if before != recipe:
            raise FileExistsError(
                f"{folder} was written with {before}, not {recipe}. Give the same options, remove "
                "it, or name another folder."
            )
    elif folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds other files: remove it or name another folder.")
    else:
        write_file(note, json.dumps(recipe))
