"""Builds ``mmext._C`` and packs tools and configs into ``mmext/.mim`` (metadata: pyproject.toml).

Environment:
    MMEXT_NO_EXT=1   leave the compiled ops out (the pure-torch references run instead).
    FORCE_CUDA=1     build the CUDA kernels although no GPU is visible (a toolkit is needed).
    MAX_JOBS         how many compilers run at once.
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
PACKED = ("tools", "configs", "model-index.yml")


def pack_mim(*, copy: bool) -> None:
    """Put tools, configs and the model index where mim and mmengine's config hub look for them.

    Args:
        copy: What a wheel or sdist needs. An editable install gets links, so that an edited config
            counts.
    """
    mim = ROOT / "mmext" / ".mim"
    mim.mkdir(exist_ok=True)
    for name in PACKED:
        source, target = ROOT / name, mim / name
        if not source.exists():  # building from an sdist, where .mim is already packed
            continue
        if target.is_symlink() or target.is_file():
            target.unlink()
        elif target.is_dir():
            shutil.rmtree(target)
        if not copy:
            target.symlink_to(os.path.relpath(source, mim))
        elif source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)


def extension() -> tuple[list, dict]:
    """Return the extension module of the ops and the command that builds it."""
    if os.environ.get("MMEXT_NO_EXT") == "1":
        return [], {}
    try:
        import torch
        from torch.utils.cpp_extension import (
            CUDA_HOME,
            BuildExtension,
            CppExtension,
            CUDAExtension,
        )
    except ImportError:
        raise SystemExit(
            "mmext's ops compile against the torch that you run: install torch first, then "
            "`pip install --no-build-isolation .` (or set MMEXT_NO_EXT=1 for the slow "
            "pure-torch ops)."
        ) from None

    csrc = Path("mmext") / "csrc"
    cuda_sources = {*csrc.rglob("*.cu"), *csrc.rglob("*_cuda.cpp")}
    sources = {*csrc.rglob("*.cpp")} - cuda_sources
    # As torch itself is compiled: without the last two no loop with a square root is vectorised.
    cxx_args = ["-O3", "-fopenmp", "-std=c++20", "-fno-math-errno", "-fno-trapping-math"]
    compile_args = {"cxx": cxx_args}
    kind = CppExtension
    use_cuda = CUDA_HOME is not None and (
        torch.cuda.is_available() or os.environ.get("FORCE_CUDA") == "1"
    )
    if use_cuda:
        kind = CUDAExtension
        sources |= cuda_sources
        compile_args["nvcc"] = ["-O3", "-std=c++20"]
    module = kind(
        "mmext._C",
        sorted(str(path) for path in sources),
        include_dirs=[str(ROOT / csrc)],
        extra_compile_args=compile_args,
        extra_link_args=["-fopenmp"],
    )
    return [module], {"build_ext": BuildExtension}


if __name__ == "__main__":
    packaging = any(command in sys.argv for command in ("sdist", "bdist_wheel"))
    pack_mim(copy=packaging)
    try:
        ext_modules, cmdclass = extension()
        setup(ext_modules=ext_modules, cmdclass=cmdclass)
    finally:
        if packaging:  # copies left behind would hide later edits from this checkout
            pack_mim(copy=False)
