"""BDL's benchmark compares what is the same."""

import pytest

from mmext.engine import import_host


@pytest.fixture(scope="module")
def benchmark(load_tool):
    import_host("mmseg")
    return load_tool("benchmarks/bdl.py")


@pytest.mark.parametrize("pseudo", [False, True])
def test_losses_of_both_steps_agree_while_they_train(benchmark, pseudo):
    assert benchmark.largest_difference("light", pseudo, iterations=2) < 1e-4


def test_losses_tell_steps_apart(benchmark, monkeypatch):
    """The bound above is one that other updates exceed."""
    repeated = benchmark.Ours.__init__
    monkeypatch.setattr(
        benchmark.Ours,
        "__init__",
        lambda self, network, batch, _: repeated(self, network, batch, False),
    )
    assert benchmark.largest_difference("light", False, iterations=2) > 1e-3


def test_evaluations_agree(benchmark, capsys):
    benchmark.print_evaluation(1)
    assert "| confusion matrix |" in capsys.readouterr().out
