"""What a dry run tells of a study before anything of it runs: what fits, what is to fetch, how long it takes."""

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from study.commands.dry_run import show, show_outlook
from study.commands.estimate import MARGIN, UTILISATION, Machine, Speed, Work, measured, prospects, remember, works
from study.config.catalogue import BuiltSource, FolderSource, HubSource, Model
from study.config.json_files import read_json, shortest
from study.config.units import Cell, Unit, kind, origin
from study.plan.expand import expand
from study.plan.read import Plan, read_study
from study.results.description import read_description
from study.results.store import Status

ROOT = Path(__file__).parents[2]
STUDY = read_study(ROOT / "configs" / "architectures.yaml")
UNITS = expand(STUDY.study, STUDY.models)
COMMITTED = read_study(ROOT / "configs" / "grid.yaml")
SMALL, LARGE = Machine(6, 1, 2000.0), Machine(54, 1, 8000.0)
"""Macs of 8 and of 64 GB, of which four fifths are for units."""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def seconds_taken(units: Sequence[Unit]) -> dict[str, float]:
    """Of every unit of the committed study, by its id: of one worker of two, on two cores. The rows may be of an
    earlier version, whose ids are other ones."""
    folder = ROOT / "reports" / "data" / "architecture_comparison"
    done = read_json(shortest(folder / "done.json"))
    if json.loads((folder / "unfinished.json").read_text()):
        pytest.skip("the committed study is not finished: its times are not those of all its units")
    theirs = {unit["label"]: unit["id"] for unit in read_description(folder)["units"]}
    return {unit.id: sum(done[theirs[unit.label]]["seconds"].values()) for unit in units}


def test_operations_are_counted_alike_for_every_kind_of_unit_and_model_of_the_committed_study() -> None:
    """Operations a second, which no two kinds or models may reach very differently if the count is right."""
    units = expand(COMMITTED.study, COMMITTED.models)
    taken = seconds_taken(units)
    work = works(COMMITTED.study, units)
    counted: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for unit in units:
        model = origin(unit).model_name
        total = counted[model, kind(unit)]
        total[0] += work[unit.id].operations(COMMITTED.models[model]) or 0.0
        total[1] += taken[unit.id]
    speeds = [operations / seconds for operations, seconds in counted.values()]
    assert len(speeds) == 6
    assert max(speeds) < 2 * min(speeds)


def test_the_committed_study_is_estimated_within_the_margin_on_cores_like_those_that_ran_it() -> None:
    """docs/speed.md gives 80 to 200 GFLOP/s for a core of such a machine."""
    units = expand(COMMITTED.study, COMMITTED.models)
    taken = seconds_taken(units)
    told = prospects(COMMITTED, units, Machine(20, 2, 150.0))
    for name, prospect in told.items():
        hours = sum(taken[unit.id] for unit in units if origin(unit).model_name == name) / 2
        assert hours / MARGIN < (prospect.seconds or 0.0) < hours * MARGIN


def test_time_follows_the_work_the_speed_and_the_units_that_fit_beside_one_another() -> None:
    def seconds(machine: Machine, units: Sequence[Unit] = UNITS) -> float:
        return prospects(STUDY, units, machine)["smollm2-135m"].seconds or 0.0

    base = seconds(Machine(20, 1, 100.0))
    assert seconds(Machine(20, 1, 200.0)) == pytest.approx(base / 2)
    assert seconds(Machine(20, 2, 100.0)) == pytest.approx(base / 2)
    assert seconds(Machine(4, 2, 100.0)) == pytest.approx(base), "two do not fit beside one another"
    own = [unit for unit in UNITS if origin(unit).model_name == "smollm2-135m"]
    assert 0 < seconds(Machine(20, 1, 100.0), own[: len(own) // 2]) < base
    assert seconds(Machine(20, 1, 100.0), []) == 0


def test_one_trained_token_costs_four_operations_a_parameter_and_a_read_one_two() -> None:
    model = Model(source=HubSource(hub="a/b"), blocks=2, parameters=1100.0, hidden_size=10, vocabulary_size=10)
    assert Work(tokens=1).operations(model) == 2 * 1000
    assert Work(rows=1).operations(model) == 2 * 100
    assert Work(2, 3).operations(model) == 4 * 1000 + 6 * 100
    untold = model.model_copy(update={"vocabulary_size": None})
    assert Work(1, 1).operations(untold) is None


def test_training_costs_by_its_steps_and_a_cell_without_a_class_reads_every_layer() -> None:
    plan = Plan(STUDY.study, {"smollm2-135m": STUDY.models["smollm2-135m"]})
    longer = plan.study.model_copy(update={"stage1": plan.study.stage1.model_copy(update={"steps": 400})})
    first, work = UNITS[0], works(plan.study, UNITS)
    assert works(longer, UNITS)[first.id].tokens == pytest.approx(2 * work[first.id].tokens)
    cells = [unit for unit in UNITS if isinstance(unit, Cell) and unit.stage_one.id == origin(first).id]
    rows = {cell.layer: work[cell.id].rows for cell in cells}
    layers = sorted(layer for layer in rows if layer is not None)
    assert rows[None] > rows[layers[0]] > rows[layers[-1]], "the swap of classes is read from the trained layer on"


def test_a_small_mac_holds_the_smallest_models_and_a_large_one_all_but_the_largest() -> None:
    small, large = (prospects(STUDY, UNITS, machine) for machine in (SMALL, LARGE))
    fits = [name for name, prospect in small.items() if prospect.fits]
    assert {"smollm2-135m", "gemma-3-270m", "qwen2.5-0.5b", "mamba-370m"} <= set(fits)
    assert "llama-3.2-1b" not in fits
    assert {"llama-3.2-3b", "qwen3-4b", "mistral-7b"} <= {name for name, prospect in large.items() if prospect.fits}
    assert all((prospect.needed_gb or 0) > 54 for prospect in large.values() if not prospect.fits)


def outlook(plan: Plan, to_run: Sequence[Unit], machine: Machine, width: int = 10_000) -> list[str]:
    screen = io.StringIO()
    show_outlook(plan, to_run, machine, Console(file=screen, width=width))
    return [line.rstrip() for line in screen.getvalue().splitlines()]


def test_the_outlook_fits_a_terminal_of_80_columns_with_what_matters_most() -> None:
    header, *lines = outlook(STUDY, UNITS, SMALL, width=80)
    assert max(map(len, [header, *lines])) <= 80
    assert header.split() == "model parameters hub asks needs fits to fetch time".split()
    told = " ".join(lines)
    assert "not shown: tuned for, licence (a window of 1" in told
    assert "columns shows them, or a pipe: | cat)" in told


def test_the_outlook_has_a_line_a_model_and_sums_up_those_that_fit() -> None:
    header, *lines = outlook(STUDY, UNITS, SMALL)
    rows = {line.split()[0]: line for line in lines[: len(STUDY.models)]}
    assert list(rows) == STUDY.study.models
    assert header.split() == "model parameters tuned for licence hub asks needs fits to fetch time".split()
    for told in ("494 M", "chat", "Apache-2.0", "nothing", "5.6 GB", "yes", "1.0 GB"):
        assert told in rows["qwen2.5-0.5b"]
    assert rows["qwen3-8b"].endswith("no    16.4 GB   -")
    here, time = lines[-2:]
    assert here.startswith("this machine: 6 GB memory for units, 1 at a time; 7 of 34 models fit; to fetch")
    assert "roughly" in time
    assert f"factor of {MARGIN}" in time


def test_what_is_not_known_is_not_guessed() -> None:
    bare = Plan(COMMITTED.study, {"mine": Model(source=HubSource(hub="someone/mine"), blocks=4)})
    units = expand(bare.study.model_copy(update={"models": ["mine"]}), bare.models)
    assert "?           ?          unknown  nothing   ?      yes   ?         ?" in "\n".join(
        outlook(bare, units, SMALL)
    )
    unmeasured = Machine(54, 1, None)
    assert all(prospect.seconds is None for prospect in prospects(STUDY, UNITS, unmeasured).values())
    assert "run `study doctor` first" in outlook(STUDY, UNITS, unmeasured)[-1]


def test_a_gated_model_and_one_that_is_here_are_told(tmp_path: Path) -> None:
    gated = Model(source=HubSource(hub="someone/gated"), blocks=4, gated=True, download=2e9)
    here = Model(source=FolderSource(folder=str(tmp_path)), blocks=4, download=2e9)
    built = Model(source=BuiltSource(built="llama"), blocks=4)
    plan = Plan(COMMITTED.study, {"gated": gated, "here": here, "built": built})
    lines = {line.split()[0]: line for line in outlook(plan, [], SMALL)[1:4]}
    assert "consent" in lines["gated"]
    assert "2.0 GB" in lines["gated"]
    assert "consent" not in lines["here"]
    assert "GB" not in lines["here"] + lines["built"]


def test_a_measured_speed_is_remembered_and_a_torn_record_is_none(tmp_path: Path) -> None:
    assert measured() is None
    remember(Speed(123.0, 2))
    assert measured() == Speed(123.0, 2)
    (tmp_path / "cache" / "speed.json").write_text('{"gflops": ')
    assert measured() is None
    assert 0 < UTILISATION < 1


def test_reasons_with_brackets_stand_in_the_table_of_a_terminal_as_they_are() -> None:
    plan = read_study(ROOT / "configs" / "smoke.yaml")
    reason, screen = "LensError: a block returns list, not [rows, seq, hidden] [/x]", io.StringIO()
    standing = {unit.id: Status("failed", reason) for unit in plan.units}
    show(plan, plan.units, standing, [], Console(file=screen, force_terminal=True, width=200))
    assert screen.getvalue().count(reason) == len(plan.units)
