"""Trainings that build on each other, as one command that can be stopped and started at any point.

BDL is such a schedule: K times a translator is trained against the segmentor that is there, the
source is translated, a segmentor is trained, and N times pseudo labels are written and a segmentor
is trained with them. What a stage does is up to the caller; here is kept what is done.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log

from mmext.files import write_file

STATE_FILE = "schedule.json"


@dataclass(frozen=True)
class Stage:
    """A step of a schedule.

    Attributes:
        name: Its name, which is also that of its folder.
        kind: What is done: the key of the action.
        needs: For each role (such as ``'translated'``) the stage whose result it takes.
    """

    name: str
    kind: str
    needs: Mapping[str, str]


Action = Callable[[Stage, Path, Mapping[str, Path], bool], Path]
"""What a stage does: gets the stage, its folder, the results that it needs by role, and whether it
was begun before; returns its result, a file or folder."""


def bdl_stages(outer: int = 2, inner: int = 2, *, translation: bool = True) -> list[Stage]:
    """Return the stages of BDL.

    Args:
        outer: K, how often a translator is trained.
        inner: N, how often pseudo labels are written for each of them.
        translation: False: without translator and translated images, for self-training alone.

    Returns:
        Stages of the kinds ``'translator'`` (needs the last ``'segmentor'``, but for the first),
        ``'translate'`` (needs ``'translator'``), ``'segmentor'`` (needs ``'translated'`` and, but
        for the first of a round, ``'labels'``) and ``'labels'`` (needs ``'segmentor'``).

    Raises:
        ValueError: A number makes no sense.

    Source: Li et al., arXiv 1904.10620, algorithm 1: K = 2, N = 2.
    """
    if outer < 1 or inner < 0 or (outer > 1 and not translation):
        raise ValueError(
            f"outer is {outer}, inner {inner}: expected outer >= 1 and inner >= 0; without "
            "translation the outer rounds would all be the same, so outer=1"
        )
    stages: list[Stage] = []
    last: dict[str, str] = {}
    for k in range(1, outer + 1):
        images: dict[str, str] = {}
        if translation:
            stages.append(Stage(f"k{k}-translator", "translator", dict(last)))
            stages.append(
                Stage(f"k{k}-translate", "translate", dict(translator=f"k{k}-translator"))
            )
            images = dict(translated=f"k{k}-translate")
        for i in range(inner + 1):
            needs = dict(images)
            if i > 0:
                stages.append(Stage(f"k{k}-i{i}-labels", "labels", dict(last)))
                needs["labels"] = f"k{k}-i{i}-labels"
            stages.append(Stage(f"k{k}-i{i}-segmentor", "segmentor", needs))
            last = dict(segmentor=f"k{k}-i{i}-segmentor")
    return stages


class Schedule:
    """Runs stages in their order and remembers in a file which are done.

    Args:
        stages: The stages; each after those that it needs.
        actions: What is done, by kind. An action that is called for the second time, because the
            first was stopped, has to go on or to begin anew by itself.
        folder: Folder of the schedule: a folder for each stage, and the state file.
        recipe: What the results depend on, as json holds it, such as the config. A folder that was
            begun with another recipe is refused.

    Raises:
        ValueError: A stage needs one that does not come before it, or has no action; or the folder
            was begun with another recipe.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        actions: Mapping[str, Action],
        folder: str | Path,
        recipe: Mapping,
    ) -> None:
        _check_order(stages, actions)
        self.stages = {stage.name: stage for stage in stages}
        self.actions = actions
        self.folder = Path(folder)
        self.recipe = json.loads(json.dumps(recipe))
        self._state = self._read_state()
        barrier()  # or a process would read what the first one writes already

    def run(self, only: str | None = None) -> Path:
        """Run what is not done yet.

        Args:
            only: Run this stage alone, again if it was done; what it needs has to be done.

        Returns:
            Result of the last stage that was asked for.

        Raises:
            ValueError: There is no such stage, or what it needs is not done.
        """
        if only is not None:
            if only not in self.stages:
                raise ValueError(f"stage {only!r} is unknown: expected one of {list(self.stages)}")
            self._forget(only)
        names = list(self.stages) if only is None else [only]
        for name in names:
            if not self.is_done(name):
                self._run_stage(self.stages[name])
        return self.result(names[-1])

    def is_done(self, name: str) -> bool:
        """Tell whether a stage is done and its result still there."""
        entry = self._state["stages"].get(name, {})
        return entry.get("status") == "done" and (self.folder / entry["result"]).exists()

    def result(self, name: str) -> Path:
        """Return the result of a stage that is done.

        Raises:
            ValueError: It is not done.
        """
        if not self.is_done(name):
            raise ValueError(f"stage {name!r} is not done: run it first (or the whole schedule)")
        return self.folder / self._state["stages"][name]["result"]

    def _run_stage(self, stage: Stage) -> None:
        inputs = {role: self.result(name) for role, name in stage.needs.items()}
        begun = stage.name in self._state["stages"]
        print_log(f"schedule: {stage.name}{' goes on' if begun else ''}", logger="current")
        self._write(stage.name, dict(status="running"))
        folder = self.folder / stage.name
        folder.mkdir(parents=True, exist_ok=True)
        result = self.actions[stage.kind](stage, folder, inputs, begun)
        # Relative, so that the folder can be moved.
        relative = Path(result).resolve().relative_to(self.folder.resolve())
        self._write(stage.name, dict(status="done", result=relative.as_posix()))

    def _forget(self, name: str) -> None:
        """Forget a stage, and what was built on its result."""
        forgotten = {name}
        for stage in self.stages.values():
            if forgotten & set(stage.needs.values()):
                forgotten.add(stage.name)
        # A stage that was only begun goes on; one that is done begins anew.
        for other in forgotten:
            entry = self._state["stages"].get(other, {})
            if entry.get("status") == "done":
                del self._state["stages"][other]

    def _write(self, name: str, entry: dict) -> None:
        self._state["stages"][name] = entry
        if is_main_process():
            write_file(self.folder / STATE_FILE, json.dumps(self._state, indent=2))
        barrier()

    def _read_state(self) -> dict:
        path = self.folder / STATE_FILE
        if not path.is_file():
            return dict(recipe=self.recipe, stages={})
        state = json.loads(path.read_text())
        changed = sorted(
            key
            for key in state["recipe"].keys() | self.recipe.keys()
            if state["recipe"].get(key) != self.recipe.get(key)
        )
        if changed:
            raise ValueError(
                f"{path} was begun with another recipe: {', '.join(changed)} differ. Name another "
                "work directory, or remove this one to begin anew."
            )
        return state


def _check_order(stages: Sequence[Stage], actions: Mapping[str, Action]) -> None:
    known: set[str] = set()
    for stage in stages:
        missing = set(stage.needs.values()) - known
        if missing or stage.name in known or stage.kind not in actions:
            raise ValueError(
                f"stage {stage.name!r} of kind {stage.kind!r} needs {sorted(stage.needs.values())}."
                f" Expected them before it, names that differ, and a kind among {list(actions)}."
            )
        known.add(stage.name)
