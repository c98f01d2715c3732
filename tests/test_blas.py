"""The optimised BLAS: loaded before MLX, once, and really used."""

import subprocess
import sys

import pytest

from study import blas

SPEED = """
import time, mlx.core as mx
a, b = mx.random.normal((256, 1024)), mx.random.normal((1024, 1024))
mx.eval(a, b, a @ b)
seconds = []
for _ in range(5):
    start = time.perf_counter()
    mx.eval(a @ b)
    seconds.append(time.perf_counter() - start)
print(2 * 256 * 1024 * 1024 / min(seconds) / 1e9)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux wheels of MLX lack an optimised BLAS")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@linux
def test_a_missing_library_gives_one_warning_that_says_what_it_costs_and_how_to_get_it() -> None:
    with pytest.warns(RuntimeWarning, match=r"4 instead of 60 GFLOP/s.*pip install mkl.*libopenblas0-pthread"):
        assert blas.load_first([blas.Blas("none", "libno-such-blas.so")]) is None


@linux
def test_loading_after_mlx_is_an_error_that_says_what_to_move() -> None:
    done = python("import mlx.core, study.blas")
    assert done.returncode == 1
    assert "put `import study.blas` above it" in done.stderr


@linux
def test_matrix_products_are_several_times_faster_than_with_the_reference_blas() -> None:
    if blas.load() is None:
        pytest.skip("no optimised BLAS on this machine")
    before = float(python(SPEED).stdout)
    after = float(python("from study import blas; blas.set_threads(1)" + SPEED).stdout)
    assert after > 3 * before


def test_the_number_of_threads_holds_for_every_blas_in_the_process() -> None:
    code = """
import study.blas, numpy, mlx.core, threadpoolctl
for threads in (2, 1):
    study.blas.set_threads(threads)
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    assert {pool["num_threads"] for pool in pools} <= {threads}, pools
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_no_threads_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        blas.set_threads(0)


@pytest.mark.skipif(sys.platform != "darwin", reason="macOS alone has Accelerate")
def test_macos_needs_nothing() -> None:
    assert blas.load() is None
