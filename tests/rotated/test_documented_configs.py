"""The config fragments of docs/rotated_losses.md build detectors with our losses."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmext.engine import import_host
from mmext.rotated import GaussianDistanceLoss as LOSS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rotated_losses.md"
FRAGMENTS = re.findall(
    r'```python\n(_base_ = "\w+::[\w-]+/([\w-]+)\.py".*?)```', PAGE.read_text(), re.S
)


def test_the_page_has_fragments():
    assert len(FRAGMENTS) >= 6


@pytest.mark.parametrize(
    "text", [text for text, _ in FRAGMENTS], ids=[name for _, name in FRAGMENTS]
)
def test_fragment_builds(text, tmp_path):
    (tmp_path / "fragment.py").write_text(text)
    cfg = Config.fromfile(tmp_path / "fragment.py")
    scope = cfg.default_scope
    import_host(scope)
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model)
    heads = [m for m in model.modules() if isinstance(getattr(m, "loss_bbox", None), LOSS)]
    assert heads
    assert all(getattr(head, "reg_decoded_bbox", True) for head in heads)
