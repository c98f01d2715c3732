"""The small tasks of a study, all at once; a `study.tasks.Task`."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from study.config.evaluation import Evaluation
from study.config.names import Operation, Tier
from study.config.small_tasks import SmallTasks
from study.tasks.prompts import Prompt, in_turn
from study.tasks.small.source import Source
from study.tasks.small.sums import Sums
from study.tasks.small.swaps import Swaps
from study.tasks.small.things import Things
from study.tasks.templated import in_turns, spread

SOURCES: dict[str, Source] = {"sums": Sums(), "things": Things(), "swaps": Swaps()}


@dataclass(frozen=True)
class Small:
    """Prompts of several small tasks; each operation, and each tier, is of one of them."""

    data: SmallTasks

    @property
    def sources(self) -> list[Source]:
        return [SOURCES[name] for name in self.data.tasks]

    def training_prompts(
        self, operations: Sequence[Operation], tiers: Sequence[Tier], seed: int, step: int, batch_size: int
    ) -> list[Prompt]:
        """Return the batch of one step, with contents and templates that are not held out. Each prompt is of one of
        the tiers that its operation has."""

        def draw(rng: random.Random, operation: Operation, tier: Tier) -> Prompt:
            source = self._of(operation)
            if tier not in source.tiers:
                tier = rng.choice([one for one in tiers if one in source.tiers])
            template = rng.choice(source.templates(tier, False))
            return source.prompt(template, operation, rng.choice(source.contents(tier, False)))

        return in_turn(operations, tiers, seed, step, batch_size, draw)

    def fitting_prompts(
        self, operations: Sequence[Operation], per_class: int, seed: int, held_out: bool = False
    ) -> list[Prompt]:
        """Return prompts of the first tier of each task, spread evenly over the templates that are not held out. With
        `held_out`, their contents are held out."""
        prompts = []
        for source in self.sources:
            if own := [name for name in operations if name in source.operations]:
                tier = source.tiers[0]
                templates, contents = source.templates(tier, False), source.contents(tier, held_out)
                prompts += spread(templates, contents, own, per_class, f"fit {seed}", source.prompt, together=True)
        return prompts

    def evaluation_prompts(self, operations: Sequence[Operation], evaluation: Evaluation, seed: int) -> list[Prompt]:
        """Return prompts with held-out contents, of each task whose operations are asked for, spread evenly over the
        templates: held-out ones and others in turn. A larger number of prompts includes those of a smaller one."""
        prompts = []
        for source in self.sources:
            own = [name for name in operations if name in source.operations]
            for tier in source.tiers if own else ():
                among = in_turns(source.templates(tier, True), source.templates(tier, False))
                count, contents = evaluation.prompts_in(tier), source.contents(tier, True)
                seed_of = f"evaluate {seed} {tier}"
                prompts += spread(among, contents, own, count, seed_of, source.prompt, together=False)
        return prompts

    def largest_held_out(self, tier: Tier) -> int:
        """Return the number of held-out contents times templates."""
        (source,) = (one for one in self.sources if tier in one.tiers)
        return len(source.contents(tier, True)) * sum(len(source.templates(tier, side)) for side in (True, False))

    def probe(self) -> list[Prompt]:
        """Return a prompt of each operation, of the first tier."""
        return [
            source.prompt(source.templates(tier, True)[0], operation, source.contents(tier, True)[0])
            for source in self.sources
            for tier in source.tiers[:1]
            for operation in source.operations
        ]

    def counterfactual(self, prompt: Prompt, operation: Operation) -> Prompt:
        """Return the prompt of the same template and contents for the other operation of its task."""
        source = self._of(operation)
        templates = [*source.templates(prompt.tier, True), *source.templates(prompt.tier, False)]
        (template,) = (one for one in templates if one.name == prompt.template)
        return source.prompt(template, operation, tuple(prompt.operands.split(",")))

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(word.lower() for word in self.vocabulary if word.isalpha())

    @property
    def vocabulary(self) -> list[str]:
        """Every word and number of the prompts and their answers."""
        return _vocabulary(tuple(self.data.tasks))

    @property
    def longest(self) -> int:
        """Number of tokens of the longest prompt with its answer and its end."""
        return _longest(tuple(self.data.tasks)) + 2

    def _of(self, operation: Operation) -> Source:
        (source,) = (one for one in self.sources if operation in one.operations)
        return source


@cache
def _vocabulary(tasks: tuple[str, ...]) -> list[str]:
    return sorted({word for text in _texts(tasks) for word in re.findall(r"[A-Za-z]{2,}|\d+", text)})


@cache
def _longest(tasks: tuple[str, ...]) -> int:
    return max(len(text.split()) for text in _texts(tasks))


@cache
def _texts(tasks: tuple[str, ...]) -> list[str]:
    """Return a text of every template, and enough others that every content and answer occurs in one."""
    texts = []
    for source in (SOURCES[name] for name in tasks):
        for tier in source.tiers:
            for side in (True, False):
                contents, templates = source.contents(tier, side), source.templates(tier, side)
                for i in range(max(len(contents), len(templates))):
                    for name in source.operations:
                        made = source.prompt(templates[i % len(templates)], name, contents[i % len(contents)])
                        texts.append(f"{made.text} {made.answer}")
    return texts
