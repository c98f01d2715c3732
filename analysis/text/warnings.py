"""What may mislead a reader of the report: wordings on which nothing can be decided, and the warnings of units."""

from analysis.data.results import Results

FAR = 1.0
"""Nats of KL divergence on a neutral text beyond which a stage 1 is said to have moved a model far."""
RANDOM = "its weights are random, and it knows nothing: its numbers show the form of a report, and mean nothing"


def out_of_reach(results: Results) -> str:
    """A line about the wordings on which no finished cell could be emergent, for want of templates; empty without."""
    counts = dict.fromkeys(results.tiers, 0)
    for tier, samples in results.readouts.items():
        own = samples.shown(samples.rows(cell.trained for cell in results.plain if cell.finished))[0]
        counts[tier] = int(own.sum(axis=1).max(initial=0))
    line = results.decisions.out_of_reach(counts)
    return f"{line[0].upper()}{line[1:]}." if line else ""


def warning_rows(results: Results) -> list[list[str]]:
    """Each warning of a model's finished units, with the number of units that have it; random weights that nobody
    trained are one."""
    trained = results.nursery.models if results.nursery else ()
    built = {name for name, model in results.models.items() if "built" in model.get("source", ())}
    random = built.difference(trained)
    counts: dict[tuple[str, str], int] = {}
    for unit in results.everything.values():
        if unit.model in random and unit.finished:
            counts[unit.model, RANDOM] = counts.get((unit.model, RANDOM), 0) + 1
        done = results.done.get(unit.id, {})
        moved = done.get("text_kl", {}).get("stage1", 0.0)
        far = [f"stage 1 moved its predictions on a neutral text by {moved:.1f} nats (KL)"] if moved > FAR else []
        for warning in (*done.get("warnings", ()), *far):
            counts[unit.model, str(warning)] = counts.get((unit.model, str(warning)), 0) + 1
    return [[model, warning, str(count)] for (model, warning), count in counts.items()]
