"""Tiny real models, and shape checks on every annotated function of the experiment."""
# ruff: noqa: E402 - the shape checks must be in place before the modules are imported

from jaxtyping import install_import_hook

import study  # noqa: F401 - its BLAS before anything imports MLX

install_import_hook(["study.lens", "study.training.objectives", "study.measures.answers"], "beartype.beartype")

# isort: split
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from actors import environment
from actors.cluster import Cluster, connect, wait_for_the_last_one
from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.evaluation import Evaluation
from study.config.grid import Grid
from study.config.stages import Lora, Stage1, Stage2
from study.config.study import RaySettings, Study
from study.plan.expand import expand
from study.plan.read import read_study
from study.results.description import write_description

environment.prepare(serving=False)  # which Ray reads when a test file imports it
# Ray's workers are as important as the other tests beside them; as a rule they would wait for those.
os.environ.setdefault("RAY_worker_niceness", "0")

# The same examples every time, and a slow machine is no failure.
settings.register_profile(
    "leisure", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.load_profile("leisure")

# Programs that tests interrupt would ignore it too, where the shell began this one in the background.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class ByFile(LoadScopeScheduling):
    """The tests of one file run in one process, and all files in which some start Ray in the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "ray" if "pytest.mark.ray" in (self.config.rootpath / file).read_text() else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """In place of `--dist loadgroup`, whose marks pytest-xdist 3.8 does not find under pytest 9.2."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes longest first, so that neither process is left with it at the end."""
    items.sort(key=lambda item: not (item.get_closest_marker("real") or item.get_closest_marker("ray")))


class Clusters:
    """The private cluster that tests share. It is started for the first of them, and ended for one that needs Ray for
    itself, since a process is in one cluster at a time.
    """

    def __init__(self) -> None:
        self._open = ExitStack()
        self._shared: Cluster | None = None

    def shared(self) -> Cluster:
        if self._shared is None:
            self._shared = self._open.enter_context(connect(RaySettings(workers=2, dashboard_port=18265)))
        return self._shared

    def end(self) -> None:
        self._open.close()
        wait_for_the_last_one()
        self._shared = None


@pytest.fixture(scope="session")
def clusters() -> Iterator[Clusters]:
    clusters = Clusters()
    yield clusters
    clusters.end()


@pytest.fixture
def cluster(clusters: Clusters) -> Cluster:
    """A private cluster of two workers, which the test leaves fit for the next one."""
    return clusters.shared()


@pytest.fixture
def no_cluster(clusters: Clusters) -> None:
    """For a test that starts Ray in this process itself."""
    clusters.end()


@pytest.fixture(scope="session")
def tiny() -> Model:
    return Model(source=BuiltSource(built="llama"), blocks=4)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of configs/smoke.yaml, carried out in one process, one unit after another. To be copied, not changed.

    Where pytest has several processes, the first that asks makes them for all.
    """
    from study.pipeline.units import run_unit

    base = tmp_path_factory.getbasetemp()
    results = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "uninterrupted"
    with FileLock(f"{results}.lock"):
        if not (results / "study.json").is_file():
            plan = read_study(Path(__file__).parent.parent / "configs" / "smoke.yaml")
            units = expand(plan.study, plan.models)
            for unit in units:
                assert run_unit(unit, results).state == "done"
            models = {name: model.model_dump(mode="json") for name, model in plan.models.items()}
            write_description(results, plan.study.name, plan.study.model_dump(mode="json"), models, units)
    return results


@pytest.fixture(scope="session")
def tiny_study() -> Callable[..., Study]:
    """A study of the tiny model that trains for a second; keywords replace its settings."""

    def make(**changes: Any) -> Study:
        settings: dict[str, Any] = {
            "name": "tiny",
            "models": ["tiny-llama"],
            "grid": Grid(layers=[0.5], pairs=[{"multiply": "multiply", "add": "add"}], weights=[0.0, 0.5]),
            "data": Data(smallest=2, largest=9),
            "stage1": Stage1(steps=8, batch_size=4, learning_rate=1e-3, warmup_steps=0),
            "stage2": Stage2(
                steps=12,
                learning_rate=2e-4,  # five times as fast, rounding alone sets trainings apart
                warmup_steps=4,
                lora=Lora(rank=4, alpha=8.0, projections=["v_proj", "o_proj"]),
            ),
            "evaluation": Evaluation(
                prompts_per_class=4,
                profile_prompts=2,
                onset_every=4,
                onset_prompts=2,
                causal_prompts=2,
                batch_size=8,
            ),
        }
        return Study(**{**settings, **changes})

    return make
