"""The table, the JSON and the chart of a benchmark run."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CELLS = 24
AT_MOST = ("x memory", "s", "GB", "min")
"""Units of which less is better."""
UNITS = {"x memory": "x"}


@dataclass(frozen=True)
class Line:
    """One comparison; `value` reads against `floor` as its unit says."""

    figure: str
    ours: str
    other: str
    value: float
    floor: float
    unit: str

    @property
    def holds(self) -> bool:
        return self.value <= self.floor if self.unit in AT_MOST else self.value >= self.floor

    def told(self, number: float) -> str:
        """A number with its unit."""
        return f"{number:.3g} {UNITS.get(self.unit, self.unit)}"


def write(content: dict[str, Any], folder: Path) -> None:
    """RESULTS.md, results.json, results.png and results.svg; prints the table."""
    lines = [*compare(content["parts"], content["grid"]), *compare_studies(content)]
    (folder / "results.json").write_text(
        json.dumps({**content, "lines": [asdict(line) for line in lines]}, indent=1) + "\n"
    )
    draw(lines, content["driver"], folder / "results")
    text = render(lines, content, _gpus(folder))
    (folder / "RESULTS.md").write_text(text)
    print(text)


def write_gpu(content: dict[str, Any], folder: Path) -> None:
    """gpus.json, with what other GPUs gave, and RESULTS.md again; prints the part that is new."""
    gpus = {**_gpus(folder), content["machine"]["processor"]: content}
    (folder / "gpus.json").write_text(json.dumps(gpus, indent=1) + "\n")
    of_cpu = json.loads((folder / "results.json").read_text())
    lines = [Line(**line) for line in of_cpu["lines"]]
    (folder / "RESULTS.md").write_text(render(lines, of_cpu, gpus))
    print("\n".join(_gpu(content)))


def _gpus(folder: Path) -> dict[str, Any]:
    """What earlier runs gave, by the name of the GPU."""
    file = folder / "gpus.json"
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def compare(parts: dict[str, list[dict[str, Any]]], grid: dict[str, int]) -> list[Line]:
    """The lines of the table from the medians over all rounds."""

    def seconds(name: str) -> float:
        return median(second for run in parts[name] for second in run["seconds"])

    def rate(name: str) -> float:
        """Real tokens a second: medians of the steps, since batches differ."""
        return median(t / s for run in parts[name] for t, s in zip(run["real_tokens"], run["seconds"], strict=True))

    def line(figure: str, ours: str, other: str, value: float, floor: float, unit: str = "x") -> Line:
        return Line(figure, ours, other, value, floor, unit)

    alone, stack = seconds("stage 2 alone"), seconds("stage 2, stack of 8")
    answer = median(run["answers"] / run["prompts"] for run in parts["evaluation"])
    decode = seconds("evaluation, greedy decoding")
    lazarus = seconds("stage 2, chuk-lazarus")
    peft = seconds("stage 2, PEFT")
    peer_cell = (
        grid["stage1_steps"] * seconds("stage 1, mlx-lm")
        + grid["stage2_steps"] * seconds("stage 2, mlx-lm")
        + 3 * grid["prompts"] * decode
    )
    whole = seconds("grid of 24")
    peak = median(run["gflops"] for run in parts["sgemm"])
    reached = median(
        g / s for run in parts["stage 2, stack of 8"] for g, s in zip(run["gflop"], run["seconds"], strict=True)
    )
    first, mlx_lm = rate("stage 1"), rate("stage 1, mlx-lm")
    stock, optimised = seconds("stage 2, mlx-lm, stock BLAS"), seconds("stage 2, mlx-lm")
    memory = [median(run["peak_gb"] for run in parts[name]) for name in ("stage 2 alone", "stage 2, stack of 8")]
    return [
        line(
            f"grid of {CELLS} cells against both stages for each cell in mlx-lm",
            f"{whole:.0f} s",
            f"{CELLS * peer_cell:.0f} s (24 x one cell)",
            CELLS * peer_cell / whole,
            10,
        ),
        line(
            "8 stacked cells against 8 in sequence, a step",
            f"{stack:.2f} s",
            f"{8 * alone:.2f} s",
            8 * alone / stack,
            1.8,
        ),
        line(
            "stage 1 against mlx-lm's trainer, real tokens a second",
            f"{first:.0f}",
            f"{mlx_lm:.0f}",
            first / mlx_lm,
            2.5,
        ),
        line(
            "answers of a prompt against one greedy decode",
            f"{1000 * answer:.0f} ms",
            f"{1000 * decode:.0f} ms",
            decode / answer,
            10,
        ),
        line(
            "stage 2 of an example against DualRewardTrainer, alone",
            f"{1000 * alone / 4:.0f} ms",
            f"{1000 * lazarus:.0f} ms",
            4 * lazarus / alone,
            2.5,
        ),
        line(
            "the same, 8 cells stacked",
            f"{1000 * stack / 32:.0f} ms",
            f"{1000 * lazarus:.0f} ms",
            32 * lazarus / stack,
            5,
        ),
        line(
            "stacked stage 2 against PEFT, a step of a cell",
            f"{stack / 8:.3f} s",
            f"{peft:.3f} s",
            8 * peft / stack,
            1.2,
        ),
        line(
            "stacked stage 2, share of sgemm",
            f"{reached:.0f} GFLOP/s",
            f"{peak:.0f} GFLOP/s",
            100 * reached / peak,
            45,
            "%",
        ),
        line(
            "optimised against stock BLAS, a step in mlx-lm's trainer",
            f"{optimised:.2f} s",
            f"{stock:.2f} s",
            stock / optimised,
            10,
        ),
        line(
            "memory of a stack of 8 against one cell, whole process",
            f"{memory[1]:.2f} GB",
            f"{memory[0]:.2f} GB",
            memory[1] / memory[0],
            1.6,
            "x memory",
        ),
    ]


def compare_studies(content: dict[str, Any]) -> list[Line]:
    """The lines of whole studies, of those that were run."""
    lines: list[Line] = []
    for name, told in WHOLE.items():
        if ran := content.get(name):
            elsewhere = ran["processor"] != content["machine"]["processor"]
            where = f" ({ran['processor']})" if elsewhere else ""
            lines += [replace(line, figure=line.figure + where) for line in told(ran["measured"])]
    return lines


def _large_report(large: dict[str, Any]) -> list[Line]:
    what, rows = f"report of {large['cells']:,} cells", sum(large["rows"].values())
    return [
        Line(f"{what}, {rows / 1e6:.0f} million rows", "", "", large["seconds"], 120, "s"),
        Line(f"memory of the {what}", "", "", large["peak_gb"], 2, "GB"),
    ]


def _earlier(runs: dict[str, list[dict[str, float]]]) -> list[Line]:
    parts = {"a small study": "wall", "its small models, training": "nursery: train"}
    return [_against(runs, what, lambda run, part=part: run[part]) for what, part in parts.items()]


def _starting(seconds: dict[str, list[float]]) -> list[Line]:
    commands = ("status", "help", "dry run")
    whole = {name: values for name, values in seconds.items() if name not in ("one process", *commands)}
    return [
        _against(whole, "the tiny study of `make smoke`", float),
        Line("the same in one process, without Ray", "", "", median(seconds["one process"]), 6, "s"),
        *(Line(f"`study`: {name}", "", "", median(seconds[name]), 0.5, "s") for name in commands),
    ]


def _against(runs: dict[str, list[Any]], what: str, seconds: Callable[[Any], float]) -> Line:
    """The line of what takes so many seconds now and at an earlier commit, the other name of `runs`."""
    (commit,) = runs.keys() - {"now"}
    now, before = (median(map(seconds, runs[side])) for side in ("now", commit))
    return Line(f"{what}, against {commit}", f"{now:.1f} s", f"{before:.1f} s", before / now, 2, "x")


def _first_report(minutes: dict[str, float]) -> list[Line]:
    found = {"a first report": min(minutes.values()), "depth curves of all models": max(minutes.values())}
    return [Line(f"`make study` to {what}", "", "", value, 10, "min") for what, value in found.items()]


WHOLE = {"large_report": _large_report, "earlier": _earlier, "starting": _starting, "first_report": _first_report}
"""By the program that runs whole studies, the lines of what it measures."""


def render(lines: list[Line], content: dict[str, Any], gpus: dict[str, Any]) -> str:
    machine, parts = content["machine"], content["parts"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    peers = sorted({run["peer"] for runs in parts.values() for run in runs if "peer" in run})
    out = [
        "# Benchmarks",
        "",
        f"SmolLM2-135M in float32, {machine['threads']} thread, {machine['blas']}. "
        f"{machine['processor']}, {machine['platform']}; {versions}.",
        "",
        f"Peers: {', '.join(peers)}. They have the same weights, token ids, LoRA projections, ranks, BLAS and threads. "
        "Parts run in turn, several rounds; figures are medians.",
        "",
        "| figure | study | other | ratio | aim | |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for line in lines:
        bound = f"{'at most ' if line.unit in AT_MOST else ''}{line.told(line.floor)}"
        verdict = "holds" if line.holds else "**missed**"
        out.append(f"| {line.figure} | {line.ours} | {line.other} | {line.told(line.value)} | {bound} | {verdict} |")
    out += ["", "![Ratios with their aims, and what the driver costs](results.png)", "", "## All parts", ""]
    out += _all_parts(parts)
    grid = content["grid"]
    out += [
        "",
        "A part is a step, except for decoding (a prompt), chuk-lazarus (an example), evaluation "
        f"({parts['evaluation'][0]['prompts']} prompts, answers and the lens at every layer) and the grid "
        f"({grid['stage1_steps']} steps of stage 1, {grid['stage2_steps']} of stage 2, {grid['prompts']} prompts; "
        "the peer's time is that of its steps and of decoding the prompts at three stages, without any lens).",
        "",
        "## The driver",
        "",
        "Cells whose work is nothing, two workers, a private Ray cluster.",
        "",
        "| cells | expansion and ids | driver's processor a cell | wall a cell | driver's memory |",
        "|---:|---:|---:|---:|---:|",
    ]
    for row in content["driver"]:
        out.append(
            f"| {row['cells']} | {row['expansion_seconds']:.3f} s | {row['driver_ms_per_cell']:.2f} ms | "
            f"{row['wall_ms_per_cell']:.2f} ms | {row['driver_memory_mb']:.0f} MB |"
        )
    for gpu in gpus.values():
        out += ["", *_gpu(gpu)]
    return "\n".join(out) + "\n"


def _gpu(content: dict[str, Any]) -> list[str]:
    machine = content["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return [
        f"## On a GPU: {machine['processor']}",
        "",
        "The same parts where MLX computes them on a GPU, in full float32 (`MLX_ENABLE_TF32=0`), steps of the study "
        f"{'' if machine['compiled'] else 'not '}compiled. {machine['platform']}; {versions}.",
        "",
        *_all_parts(content["parts"], "mlx_peak_gb"),
    ]


def _all_parts(parts: dict[str, list[dict[str, Any]]], memory: str = "peak_gb") -> list[str]:
    of = "memory of the process" if memory == "peak_gb" else "MLX's memory"
    peak = median(run["gflops"] for run in parts["sgemm"])
    out = [f"sgemm (256 x 2048 x 2048): {peak:.0f} GFLOP/s; the share of it counts padding against the part.", ""]
    out += [f"| part | minimum | median | real tokens a second | GFLOP/s | share of sgemm | {of} |"]
    out += ["|---|---:|---:|---:|---:|---:|---:|"]
    return [*out, *(_part(name, runs, peak, memory) for name, runs in parts.items() if name != "sgemm")]


def _part(name: str, runs: list[dict[str, Any]], peak: float, memory: str) -> str:
    """A row of all parts; what a peer does not tell is left empty."""
    seconds = [second for run in runs for second in run["seconds"]]

    def rate(figure: str) -> float | None:
        rates = [n / s for run in runs for n, s in zip(run.get(figure, []), run["seconds"], strict=False)]
        return median(rates) if rates else None

    tokens, gflops = rate("real_tokens"), rate("gflop")
    cells = [f"{min(seconds):.3f} s", f"{median(seconds):.3f} s", "" if tokens is None else f"{tokens:.0f}"]
    cells += ["", ""] if gflops is None else [f"{gflops:.0f}", f"{gflops / peak:.0%}"]
    return " | ".join([f"| {name}", *cells, f"{max(run[memory] for run in runs):.2f} GB |"])


def draw(lines: list[Line], driver: list[dict[str, Any]], file: Path) -> None:
    """Bars of every ratio in time with its floor, and the driver's cost over the size of the grid."""
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "bench"})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(2.2, 1), layout="constrained")
    shown = [line for line in lines if line.unit == "x"][::-1]
    places, ratios = range(len(shown)), [line.value for line in shown]
    bars = left.barh(places, ratios, color="#0072B2", height=0.6)
    left.bar_label(bars, [f"{ratio:.1f} times" for ratio in ratios], padding=9)
    left.vlines([line.floor for line in shown], [p - 0.4 for p in places], [p + 0.4 for p in places], color="#D55E00")
    left.plot([], [], color="#D55E00", label="aim")
    left.set_yticks(places, [line.figure for line in shown])
    left.set_xscale("log")
    left.set_xlim(1, 3 * max(ratios))
    left.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    left.minorticks_off()
    left.set_xlabel("times faster than the other")
    left.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1))
    cells = [row["cells"] for row in driver]
    for name, label, colour, marker in (
        ("driver_ms_per_cell", "driver's processor", "#0072B2", "o"),
        ("wall_ms_per_cell", "wall", "#E69F00", "s"),
    ):
        right.plot(cells, [row[name] for row in driver], marker=marker, color=colour, label=label)
    right.set(xscale="log", yscale="log", xlabel="cells of the grid", ylabel="ms a cell")
    right.set_title("a grid whose work is nothing", fontsize=9)
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    for kind in ("png", "svg"):
        figure.savefig(file.with_suffix(f".{kind}"), dpi=150, metadata={"Date": None} if kind == "svg" else None)
    plt.close(figure)
