"""CamVid's dusk drive to IDD-Lite: a harder pair, since all of CamVid leaves only a small gap.

62 frames of the drive 0001TP have labels; targets are those of ``adaptation_camvid_idd.py``.
"""

_base_ = ["adaptation_camvid_idd.py"]

source = dict(drives=("0001TP",))
