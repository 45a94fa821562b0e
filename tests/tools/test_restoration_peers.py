"""The restoration benchmark: equal conditions, best settings, resumption, table."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_restoration import smooth_picture

from mmext.restoration.quality import psnr

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def peers(load_tool):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS / "benchmarks")
        yield load_tool("benchmarks/restoration_peers.py")


def test_networks_differ_in_the_generator_only(peers, tmp_path):
    for data in peers.SIGMAS:
        uformer, unet = (peers.load_config(model, data, 3, tmp_path) for model in peers.MODELS)
        assert uformer.model.generator.type == "mmext.Uformer"
        assert unet.model.generator.type == "PlainUNet"
        assert ("polyu" in uformer.test_dataloader.dataset.data_root) == (data == "polyu")
        for cfg in (uformer, unet):
            cfg.model = cfg.model.losses
        assert uformer.to_dict() == unet.to_dict()


def test_networks_have_as_many_parameters(peers, tmp_path):
    from mmengine.registry import MODELS

    peers.set_up(1)
    counts = []
    for model in peers.MODELS:
        network = MODELS.build(peers.load_config(model, "photos", 0, tmp_path).model)
        counts.append(sum(p.numel() for p in network.parameters()))
    assert counts[1] == pytest.approx(counts[0], rel=0.05)


def test_schedule_is_stretched(peers, tmp_path):
    cfg = peers.load_config("uformer", "photos", 0, tmp_path)
    peers.set_iterations(cfg, 500)
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == cosine.begin == 25
    assert (cosine.end, cosine.T_max, cfg.train_cfg.max_iters) == (500, 475, 500)


def test_classical_denoisers_remove_noise(peers):
    import classical_denoisers

    pytest.importorskip("pywt", reason="PyWavelets, which scikit-image's wavelets need, is missing")
    rng = np.random.default_rng(0)
    clean = smooth_picture(rng, 48, 48) / 255
    noisy = (clean + rng.normal(0, 0.1, clean.shape)).clip(0, 1)
    for method, candidates in classical_denoisers.settings(0.1).items():
        text, denoise = classical_denoisers.best_setting(
            list(candidates)[::5], [(noisy, clean)], psnr
        )
        assert text
        assert psnr(denoise(noisy), clean) > psnr(noisy, clean) + 3, method


def test_best_setting_is_the_best(peers):
    import classical_denoisers

    clean = np.full((8, 8, 3), 0.5)
    candidates = [(f"{x}", lambda image, x=x: image + x) for x in (0.1, 0.01, 0.2)]
    text, function = classical_denoisers.best_setting(iter(candidates), [(clean, clean)], psnr)
    assert text == "0.01"
    assert function(0) == 0.01


def test_what_is_finished_is_not_run_again(peers, tmp_path, monkeypatch, capsys):
    ran = []

    def run_process(method, data, seed, folder, args):
        ran.append(folder.name)
        result = dict(method=method, setting="", minutes=1.0, PSNR=30.0 + seed, SSIM=0.9)
        peers.write_json(folder / "result.json", result)

    monkeypatch.setattr(peers, "run_process", run_process)
    args = SimpleNamespace(out=tmp_path, data=["photos"], models=["uformer"], seeds=[0, 1])
    peers.run_all(args)
    methods = ["input", "OpenCV non-local means", "scikit-image non-local means"]
    methods += ["scikit-image wavelet", "scikit-image total variation", "uformer"]
    assert ran == [f"photos-{method}-0" for method in methods] + ["photos-uformer-1"]
    assert "| uformer | 30.50 (30.00-31.00) | 0.9000" in capsys.readouterr().out
    ran.clear()
    (tmp_path / "photos-uformer-1" / "result.json").unlink()
    peers.run_all(args)
    assert ran == ["photos-uformer-1"]


def test_results_are_rounded_before_they_are_scored(peers):
    score = peers.rounded(psnr)
    clean = np.full((8, 8, 3), 100 / 255)
    assert score(clean + 0.4 / 255, clean) == float("inf")
    assert score(clean + 1.6 / 255, clean) == pytest.approx(-20 * np.log10(2 / 255))


def test_a_row_per_method(peers):
    rows = [dict(method="a", setting="x", minutes=2.0, PSNR=30.0, SSIM=0.9)]
    assert peers.markdown_table(rows).splitlines()[-1] == "| a | 30.00 | 0.9000 | 2.0 | x |"
