"""Files that appear complete or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Let a file be written under another name, which it loses when it is complete.

    If the block raises, what it wrote is removed and what was there before stays; a process that
    is killed leaves a hidden file of its own and, as well, what was there before.

    Args:
        path: The file; its folder is made if need be.

    Yields:
        What to write: a hidden file beside ``path`` with the same suffix, by which libraries choose
        a format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_file(path: str | os.PathLike, content: str | bytes) -> None:
    """Write a file as a whole, down to the disk, so that it also survives a power cut.

    Args:
        path: The file; its folder is made if need be.
        content: What is to stand in it; text becomes UTF-8.
    """
    content = content.encode() if isinstance(content, str) else content
    with replacing(path) as part, part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
