"""Streaming bounds contain the exact AUC, are narrow, and meet it where scores are coarse."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from pipeline.metrics.bounds import StreamingAuc
from pipeline.metrics.summary import evaluate_arrays


def scored(num_rows: int, base_shift: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    scores = torch.sigmoid(torch.randn(num_rows, generator=generator) - base_shift)
    return scores, (torch.rand(num_rows, generator=generator) < scores).float()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 1)), min_size=2, max_size=40),
    st.sampled_from([4, 10, 14]),
)
def test_bounds_contain_the_exact_auc_for_any_scores(rows, bin_bits):
    scores, labels = (np.array(column) for column in zip(*rows, strict=True))
    labels[:2] = [0, 1]
    stream = StreamingAuc(bin_bits=bin_bits)
    for half in (slice(None, 7), slice(7, None)):
        stream.add(torch.tensor(scores[half], dtype=torch.float32), torch.tensor(labels[half]))
    exact = evaluate_arrays(scores.astype(np.float32), labels).auc
    assert stream.bounds().low <= exact <= stream.bounds().high


@pytest.mark.parametrize("base_shift", [1.0, 4.0])
def test_gap_is_small_at_common_and_at_rare_clicks(base_shift):
    scores, labels = scored(100_000, base_shift)
    stream = StreamingAuc()
    stream.add(scores, labels)
    exact = evaluate_arrays(scores.numpy(), labels.numpy()).auc
    bounds = stream.bounds()
    assert bounds.low <= exact <= bounds.high
    assert bounds.gap < 1e-4
    assert str(bounds).startswith(f"AUC in [{bounds.low:.6f}, ")


def test_constant_and_coarse_scores_give_the_exact_value():
    stream = StreamingAuc(bin_bits=8)
    stream.add(torch.tensor([0.25, 0.25, 0.25, 0.75]), torch.tensor([0, 1, 0, 1]))
    # Pairs: the positive at .25 ties two negatives (1 of 2), the one at .75 beats both.
    assert (stream.bounds().low, stream.bounds().high) == (0.75, 0.75)


def test_one_class_only_has_no_bounds():
    stream = StreamingAuc()
    stream.add(torch.tensor([0.25, 0.5]), torch.tensor([1.0, 1.0]))
    assert math.isnan(stream.bounds().low)


def test_bounds_refuse_to_speak_after_a_nan():
    stream = StreamingAuc()
    stream.add(torch.tensor([0.25, math.nan, 1.5]), torch.tensor([1.0, 0.0, 0.0]))
    with pytest.raises(DataError, match="2 rows had a score outside"):
        stream.bounds()


def bounds_on_this_rank() -> tuple[float, float]:
    import torch.distributed as dist

    scores, labels = scored(10_007)
    stream = StreamingAuc(bin_bits=12)
    stream.add(scores[dist.get_rank() :: dist.get_world_size()], labels[dist.get_rank() :: dist.get_world_size()])
    first = stream.bounds(all_ranks=True)
    assert first == stream.bounds(all_ranks=True)
    return first.low, first.high


def test_bounds_over_all_ranks_equal_those_of_one(run_on_ranks):
    stream = StreamingAuc(bin_bits=12)
    stream.add(*scored(10_007))
    expected = (stream.bounds().low, stream.bounds().high)
    assert run_on_ranks(2, bounds_on_this_rank) == [expected, expected]
