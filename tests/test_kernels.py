"""The compiled kernels as a module: which are chosen, what they read, and the product."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqgan_env import native
from seqgan_env.native.fingerprint import fingerprint
from seqgan_env.native.linear import product

from .conftest import rng

needs_kernels = pytest.mark.skipif(
    not native.variants_here(), reason="no compiled kernels, or none for this processor"
)


@needs_kernels
def test_the_fastest_variant_is_chosen_and_a_setting_names_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SEQGAN_ENV_NATIVE", raising=False)
    assert native.variant() == native.variants_here()[0]
    for name in native.variants_here():
        monkeypatch.setenv("SEQGAN_ENV_NATIVE", name)
        assert native.variant() == name
        assert native.built_from().startswith(f"{name} ")


@pytest.mark.parametrize("value", ["0", "torch"])
def test_the_kernels_can_be_switched_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", value)
    assert native.variant() == "torch"
    assert native.built_from() == ""
    assert not native.usable(torch.zeros(1))
    with pytest.raises(RuntimeError, match="no compiled kernels in use"):
        native.sizes()


def test_a_variant_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQGAN_ENV_NATIVE", "avx52")
    with pytest.raises(ValueError, match="SEQGAN_ENV_NATIVE is 'avx52'; allowed are 0, 1, torch"):
        native.variant()


@needs_kernels
def test_kernels_built_from_other_sources_are_not_used_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not native._sources():
        pytest.skip("a wheel has no sources that the kernels could be older than")
    monkeypatch.delenv("SEQGAN_ENV_NATIVE", raising=False)
    stale = native.variants_here()
    for name in stale:
        module = importlib.import_module(f"seqgan_env._native_{name}")
        monkeypatch.setattr(module, "BUILT_FROM", "an older state of the sources")
    native._chosen.cache_clear()
    try:
        with caplog.at_level("WARNING"):
            assert not native.usable(torch.zeros(3))
        assert "install the package again" in caplog.text
        monkeypatch.setenv("SEQGAN_ENV_NATIVE", stale[0])
        with pytest.raises(ValueError, match=f"SEQGAN_ENV_NATIVE is {stale[0]}: built from other"):
            native.variant()
    finally:
        native._chosen.cache_clear()


@pytest.mark.usefixtures("each_variant")
def test_every_kernel_describes_arguments_of_known_kinds_under_names_of_their_own() -> None:
    kernels = native._module().KERNELS
    for name, arguments in kernels.items():
        assert callable(getattr(native._module(), name))
        assert len({argument for argument, _, _ in arguments}) == len(arguments)
        assert {kind for _, kind, _ in arguments} <= {*native._DTYPES, "int", "float"}


@pytest.mark.usefixtures("each_variant")
@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 140),
    depth=st.integers(0, 30),
    has_bias=st.booleans(),
    is_transposed=st.booleans(),
    by_rows=st.booleans(),
)
def test_the_product_is_that_of_torch(
    rows: int, columns: int, depth: int, has_bias: bool, is_transposed: bool, by_rows: bool
) -> None:
    left, right, bias = operands(rows, columns, depth)
    given_left = left.t().contiguous().t() if is_transposed else left
    made = product(given_left, right, bias if has_bias else None, by_rows)
    expected = left.double() @ right.double() + (bias.double()[:, None] if has_bias else 0)
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-5)


def operands(rows: int, columns: int, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    shapes = ((rows, depth), (depth, columns), (rows,))
    left, right, bias = (torch.randn(*shape, generator=rng(depth)) for shape in shapes)
    return left, right, bias


@pytest.mark.usefixtures("each_variant")
@pytest.mark.parametrize("by_rows", [True, False])
def test_a_product_deeper_than_a_block_is_summed_in_one_order(by_rows: bool) -> None:
    left, right, bias = operands(100, 70, 2100)
    whole = product(left, right, bias, by_rows)
    torch.testing.assert_close(whole, torch.addmm(bias[:, None], left, right), rtol=1e-4, atol=1e-3)
    for rows in (1, 7, 13):
        assert torch.equal(product(left[:rows], right, bias[:rows], by_rows), whole[:rows])
    for num_threads in (2, 3):
        torch.set_num_threads(num_threads)
        threaded = product(left, right, bias, by_rows)
        torch.set_num_threads(1)
        assert torch.equal(threaded, whole)


@needs_kernels
def test_a_fingerprint_is_the_same_by_all_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [torch.randn(size, generator=rng(size)) for size in (1, 15, 16, 8192, 20_001)]
    made = []
    for name in native.variants_here():
        monkeypatch.setenv("SEQGAN_ENV_NATIVE", name)
        made.append(fingerprint(tensors))
    assert all(torch.equal(made[0], other) for other in made)


# Draws by two threads, and prints what the process has mapped.
DRAW_BY_TWO_THREADS = """
import torch
from seqgan_env import native
from seqgan_env.native.softmax import NativeSoftmax
torch.set_num_threads(2)
layer = NativeSoftmax(torch.randn(50, 4), torch.zeros(50))
layer.draw(torch.randn(1000, 4), torch.rand(1000), False)
assert native._has_threads
print(open("/proc/self/maps").read())
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="there is no /proc here")
@pytest.mark.skipif(not native.has_threads(), reason="no kernels, or none with threads, in use")
def test_two_threads_of_a_kernel_use_the_one_openmp_library_that_torch_brings() -> None:
    command = [sys.executable, "-c", DRAW_BY_TWO_THREADS]
    maps = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loaded = openmp_libraries(maps)
    assert len(loaded) == 1, f"a second one keeps torch's threads from the cores: {loaded}"
    assert Path(torch.__file__).parent in loaded.pop().parents


def test_openmp_libraries_are_told_by_their_names() -> None:
    names = ["libgomp-24e2ab19.so.1.0.0", "libgomp.so.1", "libomp.so.5", "libiomp5.so", "libomp.so"]
    others = ["libompl.so", "libc.so.6", "libgomp_plugin.so"]
    maps = "".join(f"7f0-7f1 r-xp 0000 fe:00 42   /a b/{name}\n" for name in names + others)
    found = openmp_libraries(f"{maps}7f2-7f3 rw-p 0000 00:00 0\n7f4-7f5 rw-p 0000 00:00 0 [heap]\n")
    assert found == {Path("/a b") / name for name in names}


def openmp_libraries(maps: str) -> set[Path]:
    """The OpenMP libraries of GCC, LLVM and Intel among what a process has mapped; wheels put a
    hash into such a name.
    """
    files = {Path(line.split(maxsplit=5)[5]) for line in maps.splitlines() if "/" in line}
    return {file for file in files if re.match(r"lib(gomp|omp|iomp)\d*[-.]", file.name)}
