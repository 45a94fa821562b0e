"""What is labelled, since when and why: the state of a campaign, in one json file."""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mmext.files import write_file

POOL_FILE = "pool.json"


class Pool:
    """The images of a campaign by a stable id, and which of them are labelled in which cycle.

    An id is the path of the image relative to the data root: unlike the position in a data set it
    does not change with filters, test mode or the order of the annotation file. Everything that is
    drawn at random depends on the seed, the cycle and a purpose, not on what was drawn before.

    Args:
        images: Ids, in any order.
        seed: Seed of all random draws of the campaign.
        recipe: What the campaign depends on besides, as json holds it; the loop compares it when
            it goes on with a pool.

    Attributes:
        images: All ids, sorted.
        cycles: For each cycle the sorted ids whose labels are new in it.
        hashes: Hash of the annotations of every image whose labels were handed in.
        history: What was measured, one dict per finished cycle.

    Raises:
        ValueError: An id occurs twice.
    """

    def __init__(self, images: Iterable[str], *, seed: int, recipe: Mapping | None = None) -> None:
        counted = Counter(images)
        twice = sorted(image for image, count in counted.items() if count > 1)
        if twice:
            raise ValueError(
                f"the pool has {len(twice)} ids twice, the first is {twice[0]!r}. An id is "
                "the path relative to the data root: remove doubled entries from the annotation "
                "file, or give the parts of a concatenated data set a common data_root."
            )
        self.images = sorted(counted)
        self.seed = seed
        self.recipe = json.loads(json.dumps(recipe or {}))
        self.cycles: list[list[str]] = []
        self.hashes: dict[str, str] = {}
        self.history: list[dict] = []
        self._known = set(self.images)

    def labeled(self) -> list[str]:
        """Return the ids that are labelled, sorted."""
        return sorted(image for added in self.cycles for image in added)

    def unlabeled(self) -> list[str]:
        """Return the ids that are not, sorted."""
        labeled = set(self.labeled())
        return [image for image in self.images if image not in labeled]

    def add(self, images: Sequence[str]) -> None:
        """Label images and so begin the next cycle.

        Args:
            images: Ids that are not labelled yet.

        Raises:
            ValueError: An id is unknown, labelled already, or there twice.
        """
        labeled = set(self.labeled())
        for image in images:
            if image not in self._known or image in labeled:
                state = "labelled already" if image in labeled else "not in the pool"
                raise ValueError(f"{image!r} was selected and is {state}")
        if len(set(images)) < len(images):
            raise ValueError(f"an image was selected twice, of {len(images)}")
        self.cycles.append(sorted(images))

    def rewind(self, cycle: int) -> None:
        """Forget what was selected and measured after the beginning of a cycle.

        Labels that were handed in stay known: they need not be made twice.
        """
        del self.cycles[cycle + 1 :]
        self.history = [entry for entry in self.history if entry["cycle"] < cycle]

    def missing_labels(self) -> list[str]:
        """Return the ids that were selected and whose labels nobody has handed in, sorted."""
        return [image for image in self.labeled() if image not in self.hashes]

    def generator(self, purpose: str) -> np.random.Generator:
        """Return the random numbers of the present cycle for a purpose, the same at each call."""
        return np.random.default_rng([self.seed, len(self.cycles), zlib.crc32(purpose.encode())])

    def draw_initial(self, size: int) -> list[str]:
        """Draw the images that are labelled first: of one shuffle of all, the first."""
        order = self.generator("initial").permutation(len(self.images))
        return [self.images[index] for index in order[:size]]

    def draw_unlabeled(self, size: int) -> list[str]:
        """Draw the images of this cycle that are learnt from without labels.

        Args:
            size: How many; not more than there are images.

        Returns:
            Sorted ids of unlabelled images. Where these are too few, labelled ones fill up and are
            treated as if they were unlabelled.

        Source: MI-AOD's official code, which does so for equal sizes of both sets.
        """
        generator = self.generator("unlabeled")
        drawn: list[str] = []
        for images in (self.unlabeled(), self.labeled()):
            count = min(size - len(drawn), len(images))
            chosen = generator.choice(len(images), count, replace=False) if count else ()
            drawn += [images[index] for index in chosen]
        return sorted(drawn)

    def state(self) -> dict:
        """Return everything as json holds it."""
        names = ("seed", "recipe", "cycles", "hashes", "history", "images")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, state: Mapping) -> "Pool":
        """Build the pool that :meth:`state` describes."""
        pool = cls(state["images"], seed=state["seed"], recipe=state["recipe"])
        pool.hashes, pool.history = dict(state["hashes"]), list(state["history"])
        for added in state["cycles"]:
            pool.add(added)
        return pool

    def save(self, folder: str | Path) -> None:
        """Write ``pool.json``: it is the old one or the new one at any time, never half of it."""
        write_file(Path(folder) / POOL_FILE, json.dumps(self.state(), indent=1))

    @classmethod
    def load(cls, folder: str | Path) -> "Pool":
        """Read ``pool.json``.

        Raises:
            ValueError: The file is not the json of a pool.
        """
        path = Path(folder) / POOL_FILE
        try:
            return cls.from_state(json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no pool of a campaign ({error!r}). Expected the json that "
                "mmext.ActiveLearningLoop writes; take it from a backup or begin in another "
                "work directory."
            ) from error


def top_scoring(images: Sequence[str], scores: Sequence[float], count: int) -> list[str]:
    """Return the images with the highest scores without sorting all of them.

    Args:
        images: Ids.
        scores: A score for each.
        count: How many, at most ``len(images)``.

    Returns:
        Sorted ids. Of equal scores at the border, those that come first in ``images``.

    Raises:
        ValueError: A score is no number.
    """
    values = np.asarray(scores, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError(
            f"the score of {images[int(np.isnan(values).argmax())]!r} is not a number: the model "
            "predicts NaN. Look at the losses of the cycle; lower the learning rate or clip."
        )
    if count == 0:
        return []
    border = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > border)
    equal = np.flatnonzero(values == border)[: count - len(above)]
    return sorted(images[index] for index in (*above, *equal))
