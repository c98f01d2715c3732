import pytest

from study import compilation
from study.compilation import STEPS, gain, pays, record, remember

FASTER = {"plain": 0.02, "compiled": 0.01, "first": 1.0}
SLOWER = {"plain": 0.02, "compiled": 0.019, "first": 30.0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))


def on_a_gpu(monkeypatch):
    """The rule for a GPU, on a machine that has none: only the kind of the device is asked for."""
    monkeypatch.setattr(compilation.mx, "default_device", lambda: compilation.mx.Device(compilation.mx.gpu))


def test_the_gain_spreads_the_first_step_over_a_stage():
    assert gain(FASTER) == pytest.approx(STEPS * 0.02 / (1 + STEPS * 0.01))
    assert gain(SLOWER) < 1


def test_a_cpu_never_compiles_whatever_was_measured():
    remember(FASTER)
    assert not pays()


def test_a_gpu_compiles_unless_it_was_measured_not_to_pay(monkeypatch):
    on_a_gpu(monkeypatch)
    assert pays()
    remember(SLOWER)
    assert not pays()
    remember(FASTER)
    assert pays()


def test_a_measurement_with_another_mlx_or_a_broken_record_counts_for_nothing(monkeypatch):
    on_a_gpu(monkeypatch)
    remember(SLOWER)
    monkeypatch.setattr(compilation, "version", lambda name: "99")
    assert pays()
    record().write_text("{")
    assert pays()
    remember(SLOWER)
    assert not pays()
