"""What a campaign keeps in its work directory, and when it refuses to go on with it."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.logging import print_log
from torch import nn

from mmext.engine import ConfigError
from mmext.files import replacing, write_file

from .data import PoolSource
from .labelling import write_request
from .pool import POOL_FILE, Pool
from .results import write_results

INITIAL_WEIGHTS = "initial_weights.pth"


class Campaign:
    """Pool, results and initial weights of a campaign, as files of one folder.

    Args:
        folder: Work directory.
        source: The images.
        seed: Seed of a new campaign.
        recipe: What the results depend on. One that was begun with another recipe is refused.
        oracle: Whether the annotations of the data set are the labels of all images.
        resume: Whether one that was begun is gone on with.

    Raises:
        ConfigError: Numbers do not go together, or annotations have changed.
        ValueError: The folder holds another campaign, or one that is not to be resumed.
    """

    def __init__(
        self,
        folder: Path,
        source: PoolSource,
        *,
        seed: int,
        recipe: Mapping,
        oracle: bool,
        resume: bool,
    ) -> None:
        self.folder = folder
        self.source = source
        self.oracle = oracle
        self._require_all_images()
        recipe = json.loads(json.dumps({**recipe, "oracle": oracle}, default=str))
        pool = self._read()
        if pool is None:
            self.pool = Pool(source.ids, seed=seed, recipe=recipe)
            self.pool.add(self._first_images(recipe["budget"]["initial"]))
            return
        if not resume:
            raise ValueError(
                f"{folder} holds a campaign. Go on with it with --resume, or name another work "
                "directory to begin a new one."
            )
        self.pool = pool
        self._require_same(recipe)
        self._check_annotations()

    def check_budget(self, cycles: int) -> None:
        """Refuse more cycles than there are images for.

        Raises:
            ConfigError: The budget is larger than the pool, or a number below 1.
        """
        budget = self.pool.recipe["budget"]
        initial, step, images = budget["initial"], budget["step"], len(self.pool.images)
        first = initial if self.oracle else len(self.pool.cycles[0])
        wanted = first + step * (cycles - 1)
        if wanted > images or min(initial, step, cycles) < 1:
            raise ConfigError(
                f"train_cfg: {cycles} cycles with budget initial={initial}, step={step} come to "
                f"{wanted} labelled images, and the pool has {images}. Expected numbers of 1 or "
                "more that the pool can hold: lower cycles, budget.initial or budget.step."
            )

    def accept_labels(self) -> None:
        """Remember the annotations of the labelled images as they are now."""
        for image in self.pool.labeled():
            self.pool.hashes.setdefault(image, self.source.annotation_hash(image))

    def count_boxes(self) -> int:
        """Return how many boxes the labelled images have: what labelling them has cost."""
        labeled = self.pool.labeled()
        return sum(len(self.source.info(image).get("instances", ())) for image in labeled)

    def has_labels(self) -> bool:
        """Tell whether all that was selected is labelled; write what is missing if not."""
        missing = [] if self.oracle else self.pool.missing_labels()
        if missing:
            self.save()
            folder = self.folder / "to_label" / f"cycle_{len(self.pool.cycles) - 1}"
            if is_main_process():
                write_request(folder, self.source, missing)
            print_log(
                f"{len(missing)} images are to be labelled: {folder} lists them for CVAT (COCO), "
                "Label Studio and as csv. Take the labels in with tools/al_import.py, then start "
                "this training again with --resume.",
                logger="current",
            )
        return not missing

    def save(self) -> None:
        """Write ``pool.json`` and the table of results."""
        if is_main_process():
            self.pool.save(self.folder)
            write_results(self.folder, self.pool.history)
        barrier()

    def save_initial(self, model: nn.Module) -> None:
        """Keep the weights that each cycle begins with."""
        if is_main_process():
            with replacing(self.folder / INITIAL_WEIGHTS) as part, part.open("wb") as file:
                torch.save(model.state_dict(), file)
        barrier()

    def load_initial(self, model: nn.Module) -> None:
        """Give the model the weights that each cycle begins with.

        Raises:
            ConfigError: Their file is missing.
        """
        path = self.folder / INITIAL_WEIGHTS
        if not path.is_file():
            raise ConfigError(
                f"{path} is missing: each cycle begins with these weights. Copy it from where the "
                "campaign was begun."
            )
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def point_to(self, checkpoint: str) -> None:
        """Let ``--resume`` find a checkpoint of the folder."""
        if is_main_process():
            write_file(self.folder / "last_checkpoint", str(self.folder / checkpoint))
        barrier()

    def _read(self) -> Pool | None:
        """Read the pool in the first process, for all."""
        content = [None]
        if is_main_process() and (self.folder / POOL_FILE).is_file():
            content = [Pool.load(self.folder).state()]
        broadcast_object_list(content)
        return None if content[0] is None else Pool.from_state(content[0])

    def _first_images(self, initial: int) -> list[str]:
        """Return what is labelled first: in real labelling what has boxes already, if any."""
        drawn = self.pool.draw_initial(min(initial, len(self.pool.images)))
        if self.oracle:
            return drawn
        images = self.pool.images
        boxes = [image for image in images if self.source.info(image).get("instances")]
        self.pool.hashes = {image: self.source.annotation_hash(image) for image in boxes}
        return boxes or drawn

    def _require_all_images(self) -> None:
        """Refuse a filter that would hide every image that nobody has labelled."""
        filters = [part.filter_cfg or {} for part in self.source.parts]
        if not self.oracle and any(one.get("filter_empty_gt") for one in filters):
            raise ConfigError(
                "train_dataloader.dataset.filter_cfg.filter_empty_gt=True hides images without "
                "boxes, so all that are to be labelled. Expected False with train_cfg.oracle=False."
            )

    def _require_same(self, recipe: Mapping) -> None:
        before = self.pool.recipe
        differ = sorted(key for key in recipe if recipe[key] != before.get(key))
        if sorted(self.source.ids) != self.pool.images:
            differ.append("train_dataloader.dataset (its images)")
        if differ:
            raise ValueError(
                f"{self.folder / POOL_FILE} was begun with other settings: {', '.join(differ)}. "
                "Set them as they were, or name another work directory to begin anew."
            )

    def _check_annotations(self) -> None:
        known = self.pool.hashes
        changed = [
            image
            for image in self.pool.labeled()
            if image in known and known[image] != self.source.annotation_hash(image)
        ]
        if changed:
            raise ConfigError(
                f"the annotations of {len(changed)} labelled images have changed since they were "
                f"labelled, the first is {changed[0]}. Models and selections of the cycles so far "
                "rest on the old ones: restore the annotation file, or begin a new work directory."
            )
