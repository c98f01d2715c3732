"""How far a study has come, and what its own data cannot show."""

from analysis.data.numbers import share
from analysis.data.results import Results
from analysis.data.terms import ARITHMETIC
from analysis.outcomes import Decided
from analysis.text.effects_and_use import not_fitted
from study.config.wordings import cues_of

NAMED = 8
"""Most models that the head of a report names."""
_REST = {"failed": "failed", "skipped": "skipped", "missing": "not run", "unreadable": "unreadable"}


def named(results: Results) -> str:
    """The models of a study, or how many there are where they would fill the page."""
    models = results.model_names
    return ", ".join(models) if len(models) <= NAMED else f"{len(models)} models"


def progress(results: Results) -> str:
    """`2 of 4 cells with a class loss finished (1 failed, 1 skipped); 1 seed`."""
    states = [cell.status for cell in results.cells]
    text = f"{states.count('finished')} of {len(states)} cells with a class loss finished"
    rest = [f"{states.count(state)} {name}" for state, name in _REST.items() if state in states]
    text += f" ({', '.join(rest)})" if rest else ""
    done, planned = len(_seeds(results)), len(results.seeds)
    return f"{text}; {done} of {planned} seeds" if done < planned else f"{text}; {done} seed{'s' if done > 1 else ''}"


def _seeds(results: Results) -> list[int]:
    """The seeds of which a cell with a class loss has finished."""
    return sorted({cell.seed for cell in results.cells if cell.finished})


def limits(results: Results, decided: Decided) -> list[str]:
    """What the study's own data cannot show."""
    prompts = next(iter(results.rows["answers"].values()))
    prompts = prompts[prompts["stage"] == prompts["stage"].iloc[0]]
    groups = {tier: rows for tier, rows in prompts.groupby("tier", observed=True)}
    counts = [
        f"{tier} {len(groups[tier])} prompts from {groups[tier]['template'].nunique()} templates"
        for tier in results.tiers
        if tier in groups
    ]
    seeds, terms = ", ".join(map(str, _seeds(results))), results.terms
    samples = results.samples_are
    spread = (
        f"Seeds: {seeds}. A seed stands for the initial adapters, the batches and the evaluated operands together; few "
        "seeds say little of others, and intervals over them are wide."
        if len(_seeds(results)) > 1
        else f"One seed ({seeds}): the spread between seeds is not measured, and intervals are over {samples} alone."
    )
    decided_on = f"{len(decided.plain)} outcomes, {len(decided.effects)} contrasts and {len(decided.shares)} exchanges"
    asked = "which the exchange of states asks"
    if not results.has_answers:
        decided_on = f"{len(decided.plain)} outcomes and {len(decided.effects)} contrasts"
        asked = "which only the answers to prompts could show, and these have labels alone"
    percent = share(results.decisions.confidence)
    said = [
        spread,
        f"Models: {decided.plain['model'].nunique()}. Cells of one model are not independent of one another.",
        f"All {terms.kinds} together: {'; '.join(counts)}. Intervals are over {samples} as a sample of such {samples}: "
        f"of wordings of another kind they say nothing.{_cues(results)}",
        f"{decided_on} are each decided at {percent}, with no correction for their number, except that partial, as an "
        "outcome, is above chance also when corrected for all plain cells on the wording.",
        "Class tokens that are read at a layer show that they can be trained into it. That the network makes use of "
        f"them is another question, {asked}.",
    ]
    if failed := not_fitted(decided):
        said.append(
            f"Cells whose class loss did not fit, and which no mean, difference or depth counts: {', '.join(failed)}."
        )
    if missed := _not_learned(decided):
        level = share(results.decisions.learned)
        said.append(
            f"Models of the sample that gave fewer than {level} right answers after stage 1 where labels are given, "
            f"and are left out of what compares models: {', '.join(missed)}."
        )
    if not decided.associations_by_model.empty:
        said.append(
            "Correlations within a model are freed of depth, its square and weight, in ranks: a predictor that follows "
            "depth in a more bent way, the same in all models, could still pass."
        )
    return said


def _cues(results: Results) -> str:
    """How many words or frames tell the operations apart, by tier: new templates are new sentences around them."""
    if results.terms is not ARITHMETIC:
        return ""
    counts = [f"{tier} {len(set(cues_of(tier).values()))}" for tier in results.tiers]
    return (
        f" What tells the {results.terms.kinds} apart is the same in trained and new templates, and there is little of "
        f"it ({', '.join(counts)}): new templates are new sentences around known cues, and the intervals say nothing "
        "of other cues."
    )


def _not_learned(decided: Decided) -> list[str]:
    """`gpt2-4x96h2 (add/subtract, seed 1)`: each model, pair and seed of a sample whose task was not learned."""
    if decided.areas.empty:
        return []
    missed = decided.areas[~decided.areas["learned"].astype(bool)].drop_duplicates(["model", "pair", "seed"])
    return [
        f"{model} ({pair}, seed {seed})"
        for model, pair, seed in zip(missed["model"], missed["pair"], missed["seed"], strict=True)
    ]
