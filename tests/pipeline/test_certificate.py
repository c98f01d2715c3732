"""The certificate agrees with the known rows here, and refuses a machine that computes otherwise."""

from pathlib import Path

import mlx.core as mx
import pytest

from study.commands.doctor import main as doctor
from study.config.json_files import read_json
from study.models import machine
from study.models.machine import certificate, certificate_file, described
from study.pipeline import certificate as module
from study.pipeline.certificate import MODEL, Check, certify, record
from study.pipeline.units import run_unit
from study.plan.expand import expand
from study.results.finished import DONE
from study.results.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))


def test_this_machine_agrees_and_its_units_and_reports_say_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert certificate() is None
    checks = certify()
    assert [check.name for check in checks if not check.agrees] == []
    assert {"product in float32, against float64", "gate: last-layer lens equals the logits"} <= {
        c.name for c in checks
    }
    assert sum(check.name.startswith("loss, ") for check in checks) == 4
    assert read_json(record(checks))["agrees"] is True
    told = certificate()
    assert told is not None
    assert told.startswith("agrees with known rows (20")
    unit = expand(module.STUDY, {"tiny-llama": MODEL})[0]
    assert run_unit(unit, tmp_path / "results").state == "done"
    assert read_json(Store(tmp_path / "results").folder(unit) / DONE)["certificate"] == told


def test_weights_that_are_held_otherwise_do_not_agree() -> None:
    """Rounding to 8 bits is what a device does that does not compute in float32: the figures show it."""
    wrong = {check.name for check in certify(MODEL.model_copy(update={"weights": "8bit"})) if not check.agrees}
    assert "log p of class tokens at every layer, before any training, nats" in wrong


def test_a_product_that_rounds_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._product_error() < 1e-6
    exact = mx.array

    def rounded(values: object) -> mx.array:
        return exact(values).astype(mx.bfloat16).astype(mx.float32)

    monkeypatch.setattr(mx, "array", rounded)
    assert module._product_error() > module.PRODUCT


def test_a_certificate_is_of_the_machine_and_versions_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    record([Check("one", 2.0, 1.0)])
    assert (certificate() or "").startswith("does not agree with known rows (20")
    other = {**described(), "machine": "another"}
    monkeypatch.setattr(machine, "described", lambda: other)
    assert certificate() is None
    certificate_file().write_text("{")
    assert certificate() is None


def test_doctor_tells_what_does_not_agree_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "certify", lambda: [Check("one", 0.5, 1.0), Check("another", 2.0, 1.0)])
    assert doctor(["--certify", "--results", str(tmp_path)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "another 2 1 NO" in said
    assert "this machine's numbers are not those of the reference study (another)" in said
    assert read_json(certificate_file())["agrees"] is False
