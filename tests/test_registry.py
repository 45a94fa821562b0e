"""Sweep over everything registered in mmext: found from outside, explained in code and in docs."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.registry import Registry

import mmext.registry

ROOT = Path(__file__).resolve().parents[1]
REGISTRIES = {
    name: value
    for name, value in vars(mmext.registry).items()
    if isinstance(value, Registry) and value.scope == "mmext"
}


def entries() -> list[tuple[str, str]]:
    """Return (registry, name) of everything that is registered."""
    for registry in REGISTRIES.values():
        registry.import_from_location()
    return [(r, name) for r, registry in REGISTRIES.items() for name in registry.module_dict]


@pytest.fixture(scope="module")
def docs() -> str:
    """All pages of docs/ in one string."""
    return "\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))


def test_the_registries_hold_something():
    assert {name for _, name in entries()} >= {"CenterNetPlusPlus", "EfficientNetLite", "DCNv2"}


@pytest.mark.parametrize(("registry", "name"), entries())
def test_is_ours_and_explained(registry, name):
    entry = REGISTRIES[registry].module_dict[name]
    assert entry.__module__.startswith("mmext.")
    # Not inspect.getdoc, which hands down the base class's words.
    assert entry.__doc__, f"{entry.__module__}.{name} has no docstring"
    first = inspect.cleandoc(entry.__doc__).splitlines()[0]
    assert first.endswith((".", ":")), f"{name}: the first docstring line is no sentence: {first!r}"


@pytest.mark.parametrize(("registry", "name"), entries())
def test_is_named_in_the_docs(registry, name, docs):
    public = REGISTRIES[registry].module_dict[name].__name__
    assert re.search(rf"`(mmext\.)?{public}`", docs), (
        f"no page of docs/ names `{public}`: add a row to the table of docs/registry.md"
    )


def test_everything_is_found_from_mmengines_root_without_custom_imports():
    """In a new process: what ``type='mmext.X'`` does in a config of another package."""
    wanted = [
        (REGISTRIES[registry].parent.name, name)
        for registry, name in entries()
        if REGISTRIES[registry].parent is not None
    ]
    script = f"""
import mmengine.registry as roots
by_name = {{r.name: r for r in vars(roots).values() if isinstance(r, roots.Registry)}}
for registry, name in {wanted!r}:
    assert by_name[registry].get("mmext." + name) is not None, (registry, name)
print("found", {len(wanted)})
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert f"found {len(wanted)}" in result.stdout
