import pytest


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("benchmarks/rotated_fcos_kld_seeds.py")


def test_our_losses_are_finite_where_mmrotates_are_not(tool):
    seeds = 3
    counts, without_extent = tool.count_finite(seeds, 128)
    assert without_extent > 0.1  # or the seeds would show nothing
    for name, count in counts.items():
        if "mmext" in name:
            assert count == [seeds, seeds], name
    assert sum(counts["mmrotate GDLoss_v1 kld, as the config has it"]) < 2 * seeds
