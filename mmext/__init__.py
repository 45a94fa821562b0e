"""mmext: ten published dense-prediction and detection systems as plug-ins for OpenMMLab.

Importing this package is cheap: it only tells mmengine's config hub where to find the configs
that come with mmext, so that ``_base_ = 'mmext::...'`` resolves. (mmseg's entry there names a
distribution that is no longer published; it is mended in the same line.) Models, ops and data
sets are imported by the registries of :mod:`mmext.registry` when a config first asks for them.
"""

from mmengine.config.utils import MODULE2PACKAGE

from .version import __version__

__all__ = ["__version__"]

MODULE2PACKAGE.update(mmext="mmext", mmseg="mmseg")
