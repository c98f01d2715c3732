import pytest

from study.training import compilation
from study.training.compilation import STEPS, gain, pays, record, remember

FASTER = {"plain": 0.02, "compiled": 0.01, "first": 1.0}
SLOWER = {"plain": 0.02, "compiled": 0.019, "first": 30.0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))


def on_a(monkeypatch, device, metal=False):
    """The rule for a device, on a machine that has none: only its kind is asked for."""
    monkeypatch.setattr(compilation.mx, "default_device", lambda: compilation.mx.Device(device))
    monkeypatch.setattr(compilation.mx.metal, "is_available", lambda: metal)


def test_the_gain_spreads_the_first_step_over_a_stage():
    assert gain(FASTER) == pytest.approx(STEPS * 0.02 / (1 + STEPS * 0.01))
    assert gain(SLOWER) < 1


def test_a_cpu_never_compiles_whatever_was_measured(monkeypatch):
    on_a(monkeypatch, compilation.mx.cpu)
    remember(FASTER)
    assert not pays()


@pytest.mark.parametrize("metal", [True, False])
def test_a_gpu_does_what_was_measured_to_pay_and_else_compiles_on_metal_alone(monkeypatch, metal):
    on_a(monkeypatch, compilation.mx.gpu, metal)
    assert pays() == metal
    remember(SLOWER)
    assert not pays()
    remember(FASTER)
    assert pays()


def test_a_measurement_with_another_mlx_or_a_broken_record_counts_for_nothing(monkeypatch):
    on_a(monkeypatch, compilation.mx.gpu, metal=True)
    remember(SLOWER)
    monkeypatch.setattr(compilation, "version", lambda name: "99")
    assert pays()
    record().write_text("{")
    assert pays()
    remember(SLOWER)
    assert not pays()
