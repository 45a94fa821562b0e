"""CPN, the Corner Proposal Network (arXiv 2007.13816)."""

from .detector import CPN, CPNTTA
from .dla import DLA
from .dla_up import DLAUp
from .head import CPNHead

__all__ = ["CPN", "CPNTTA", "DLA", "CPNHead", "DLAUp"]
