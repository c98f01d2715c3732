"""Running a study's units on a cluster, from connecting to it to the last unit."""

import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console

from actors.cluster import AT_A_TIME, RESOURCE, Cluster, ClusterError, connect
from actors.driver import Driver, Stop
from actors.health import Health
from actors.metrics import States
from actors.nodes import Facts, described, marked, problems, survey
from actors.progress import Display, display
from actors.reservations import Reservations
from actors.worker import Ended, make_ready
from study.config.units import Unit, origin
from study.plan.memory import leave_out, study_gb, too_large
from study.plan.order import ranks
from study.plan.read import Plan
from study.plan.stacks import largest_stack
from study.results.store import Store


def run_study(
    plan: Plan,
    todo: Sequence[Unit],
    store: Store,
    address: str | None,
    console: Console,
    look: Callable[[Unit | None], str],
) -> None:
    """Run the units on a private cluster, or on the one at `address`, and display their progress.

    `look` is called with every unit that ends and, with None, in between; what it returns is printed. Units whose model
    needs more memory than any node has are skipped. Raises ClusterError where there is no cluster, or it has problems,
    and KeyboardInterrupt once a run that was interrupted has ended.
    """
    settings, stop = plan.study.ray, Stop()
    with connect(settings, address, job=plan.study.name) as cluster:
        refused = too_large(plan.study, plan.models, cluster.memory_gb)
        todo = leave_out(refused, todo, store, partial(console.print, markup=False))
        if not todo:
            return
        memory = _reservations(plan, todo, cluster, store.root)
        _make_ready(min(cluster.slots, len(todo)))
        nodes = _look_around(store.root, console, alone=address is None)
        console.print(
            f"{cluster.slots} {AT_A_TIME}; Ray's dashboard and its token: study dashboard {cluster.dashboard}"
        )
        for unit in todo:
            store.forget_failure(unit)
        with _interruptible(stop), display(todo, cluster.slots, store, console) as shown:
            if not console.is_terminal:
                console.print(f"what runs: {shlex.join(['study', 'status', str(store.root)])}", markup=False)
            driver = Driver(
                todo,
                store,
                settings,
                cluster.slots,
                travels=not all(facts.shares for facts in nodes),
                memory=memory,
                stop=stop,
                ranks=ranks(plan.units),
                stacks_grow=bool(nodes) and all(facts.on_gpu for facts in nodes),
            )
            states, told = States(plan.study.name), False
            for ended in _while_alive(driver.carry_out(), Health(cluster.head, private=address is None)):
                shown.tell(ended)
                if ended and (said := memory.measured(origin(ended.unit).model_name, ended.peak_gb)):
                    shown.say(said)
                if said := look(ended.unit if ended else None):
                    shown.say(said)
                states.tell(lambda: shown.tally.states(driver.running()))
                if stop.asked and not told:
                    told = _say_what_runs(driver, shown)
    if stop.asked:
        raise KeyboardInterrupt


def _while_alive(units: Iterator[Ended | None], health: Health) -> Iterator[Ended | None]:
    """Yield what the driver yields. Raises ClusterLostError where the cluster has died."""
    from ray.exceptions import RayError

    try:
        for ended in units:
            health.check()
            yield ended
    except RayError as error:  # not of a task, which the driver sees to, but of what it runs tasks with
        health.check()
        raise health.lost(" ".join(str(error).split())) from error


def _reservations(plan: Plan, todo: Sequence[Unit], cluster: Cluster, root: Path) -> Reservations:
    """Return the memory that tasks reserve, by model."""
    stacked = {}
    for name, model in plan.models.items():
        own = [unit for unit in todo if origin(unit).model_name == name]
        stacked[name] = study_gb(model, plan.study, largest_stack(own, plan.study.ray.stack))
    return Reservations(stacked, cluster.memory_gb, root)


def _look_around(root: Path, console: Console, alone: bool) -> list[Facts]:
    """Print and return the facts about every node that answers.

    Raises ClusterError with all problems of the nodes, unless `alone`: on a cluster of this machine only, nothing can
    differ, and a full disk is reported on writing.
    """
    with marked(root) as mark:
        nodes = survey(root, mark)
    console.print("\n".join(described(nodes)), markup=False)
    if not alone and (found := problems(nodes)):
        raise ClusterError("\n".join(found))
    return [node.facts for node in nodes if node.facts]


def _make_ready(workers: int) -> None:
    """Let so many workers import what units need, so that those that come later need not while the first trains."""
    import ray

    ready = ray.remote(make_ready).options(name="get ready", num_cpus=0, resources={RESOURCE: 1}, max_retries=0)
    for _ in range(workers):
        ready.remote()


def _say_what_runs(driver: Driver, shown: Display) -> bool:
    count = driver.running()
    what = f"{count} unit{'s' * (count != 1)} running will end first" if count else "nothing runs"
    again = "Ctrl-C again ends the run at once, and the same command goes on from the last checkpoints."
    shown.say(f"Interrupted: {what}, and no other begins. {again}")
    return True


@contextmanager
def _interruptible(stop: Stop) -> Iterator[None]:
    """Within the context, the first Ctrl-C requests a stop; the second, or SIGTERM, raises KeyboardInterrupt."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.asked or number == signal.SIGTERM:
            raise KeyboardInterrupt
        stop.asked = True

    # Ray has its own handler of SIGTERM, which dumps the stack.
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
