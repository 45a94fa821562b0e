"""mmext: ten published dense-prediction and detection systems as plug-ins for OpenMMLab.

Importing this package is cheap: it only tells mmengine's config hub where to find the configs
that come with mmext, so that ``_base_ = 'mmext::...'`` resolves, and that what they build is looked
up in the scope of the config that inherits from them. (mmseg's entry there names a distribution
that is no longer published; it is mended in the same line.) Models, ops and data sets are imported
by the registries of :mod:`mmext.registry` when a config first asks for them.
"""

from collections.abc import Callable

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from .version import __version__

__all__ = ["__version__"]

MODULE2PACKAGE.update(mmext="mmext", mmseg="mmseg")


def _find_base(
    cfg_path: str, filename: str, find: Callable = Config._get_cfg_path
) -> tuple[str, str | None]:
    """Return a base config's path and, unless it is ours, the scope to look its types up in.

    Ours write ``mmext.`` before what is mmext's, and leave the rest to their ``default_scope``:
    looked up in mmext's scope, mmseg's and mmdet's parts would not be found.
    """
    path, scope = find(cfg_path, filename)
    return path, None if scope == "mmext" else scope


Config._get_cfg_path = staticmethod(_find_base)
