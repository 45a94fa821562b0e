"""Reading what ``tools/test.py --out`` writes."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read_samples(source: Path, read: Callable[[dict[str, Any]], T]) -> list[T]:
    """Read the data samples of a test.

    Args:
        source: A ``.pkl`` that ``tools/test.py --out`` wrote. A pickle can run code: load only your
            own.
        read: Takes what is needed out of a sample; may raise ValueError.

    Returns:
        What ``read`` returns for each sample, in the order of the test.

    Raises:
        FileNotFoundError: ``source`` does not exist.
        ValueError: ``source`` cannot be read or holds something else.
    """
    source = Path(source)
    if not source.is_file():
        raise FileNotFoundError(f"prediction file {str(source)!r} does not exist")
    try:
        with source.open("rb") as file:
            return [read(sample) for sample in pickle.load(file)]
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{source} is no list of data samples ({error}): expected what tools/test.py --out "
            "writes"
        ) from error
