import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqgan_env.streams import RowStreams, fold_keys, seed_key, streams_from_keys, uniforms

KEYS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8)
CPU = torch.device("cpu")


@given(KEYS, st.integers(-(2**31), 2**31))
def test_numpy_and_torch_fold_keys_alike(keys: list[int], data: int) -> None:
    array = np.array(keys, dtype=np.uint64)
    folded = fold_keys(array, np.full(len(keys), data, dtype=np.int64))
    assert (
        streams_from_keys(array, CPU).fold_in(data).keys.numpy().view(np.uint64).tolist()
        == folded.tolist()
    )


@given(KEYS)
def test_a_row_draws_the_same_whatever_stands_beside_it(keys: list[int]) -> None:
    array = np.array(keys, dtype=np.uint64)
    together = streams_from_keys(array, CPU).repeat(3).uniform(4)
    alone = torch.cat(
        [streams_from_keys(array[i : i + 1], CPU).repeat(3).uniform(4) for i in range(len(array))]
    )
    assert torch.equal(together, alone)


def test_draws_are_uniform_and_uncorrelated_across_rows_columns_and_seeds() -> None:
    keys = np.array([seed_key(s) for s in range(400)], dtype=np.uint64)
    draws = streams_from_keys(keys, CPU).uniform(500)
    assert float(draws.min()) >= 0
    assert float(draws.max()) < 1
    counts = torch.histc(draws, bins=50, min=0, max=1)
    expected = draws.numel() / 50
    assert (
        float(((counts - expected) ** 2 / expected).sum()) < 85
    )  # chi-squared with 49 degrees of freedom: p = 0.001
    for axis in (draws, draws.T):
        correlation = torch.corrcoef(axis[:100])
        assert float((correlation - torch.eye(100)).abs().max()) < 0.3


def test_folding_different_data_gives_different_streams() -> None:
    streams = streams_from_keys(np.array([seed_key(0)], dtype=np.uint64), CPU)
    keys = {int(streams.fold_in(i).keys) for i in range(10_000)} | {
        int(k) for k in streams.repeat(10_000).keys
    }
    assert len(keys) == 20_000


def test_row_streams_are_an_ordinary_generator_too() -> None:
    first, again, other = (RowStreams(torch.tensor([k, 2])) for k in (1, 1, 3))
    draws = [torch.rand(5, generator=g) for g in (first, again, other)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_uniforms_of_a_plain_generator_are_reproducible() -> None:
    assert torch.equal(
        uniforms(torch.Generator().manual_seed(3), 4, 5),
        uniforms(torch.Generator().manual_seed(3), 4, 5),
    )
