"""Settings of the evaluation, and what an outcome needs."""

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from study.config.base import Settings
from study.config.bounds import BatchSize, Confidence, PromptCount, PromptCountOrNone, Resamples, StepsOrNone
from study.config.names import Fraction, PredictorName, PromptsByTier, Tier

FEWEST_TEMPLATES = 4
"""With fewer templates in a tier, as in a custom task that names none, its groups are the sample that intervals are
over, and labels cannot be drawn for each template."""


class Evaluation(Settings):
    """Evaluation on held-out prompts, the same for every stage and cell of a seed."""

    prompts_per_class: PromptCount | PromptsByTier = 108
    """Prompts of each operation, one number for every tier or a number by tier. Their answers are evaluated, and the
    logit lens is read at the trained layer and at the last one."""
    profile_prompts: PromptCount = 16
    """Prompts among these, of each operation in each tier, whose logit lens is read at every layer."""
    onset_every: StepsOrNone = 10
    """Steps of stage 2 between two light evaluations, which show when the class emerges; 0 for none."""
    onset_prompts: PromptCount = 4
    """Prompts of each operation in each tier in a light evaluation."""
    causal_prompts: PromptCountOrNone = 12
    """Prompts of each operation, in each tier that either stage trained on, whose hidden state at the trained layer is
    exchanged with that of the same prompt for another operation; 0 for none."""
    batch_size: BatchSize = 32
    """Prompts that are evaluated at a time."""

    def prompts_in(self, tier: Tier) -> int:
        """Return the number of prompts of each operation in a tier."""
        return self.prompts_per_class if isinstance(self.prompts_per_class, int) else self.prompts_per_class[tier]


class Decisions(Settings):
    """What an outcome needs, fixed before the study is run."""

    choice_accuracy: Fraction = 0.9
    """The interval of the choice accuracy must lie above."""
    probability: Fraction = 0.5
    """The interval of the right class token's mean probability must lie above."""
    non_inferiority_margin: Fraction = 0.03
    """Loss of answer accuracy that still counts as preserved."""
    confidence: Confidence = 0.95
    """Of all intervals, two-sided."""
    resamples: Resamples = 2000
    """Of each bootstrap."""
    primary_tier: Tier = "construction"
    """Its choice accuracy is the outcome that predictors are to explain, in cells that did not train on it."""
    predictors: Annotated[list[PredictorName], Field(max_length=6)] = [
        *("log_p", "a_lin", "selectivity", "gradient_cosine"),
    ]
    """What is tested for saying where classifiers carry over; p values are corrected for their number. With none, no
    predictor is measured."""
    predictor_prompts: PromptCount | None = None
    """Held-out prompts of each class in each tier on which predictors are measured; as many as
    `evaluation.profile_prompts` if left out."""
    floor: Fraction = 0.1
    """Stage-1 accuracy on a tier below which there is too little to lose to show preservation there."""

    learned: Fraction = 0.5
    """Accuracy of answers after stage 1, on the tier that class labels are given on, below which a model of a sample
    has not learned the task: what compares the models of the sample leaves it out."""

    @property
    def samples_needed(self) -> int:
        """The fewest templates of a tier with which a cell can be emergent: with n of n right, the exact interval
        begins at (alpha / 2)^(1 / n), which must reach the choice accuracy."""
        return math.ceil(math.log((1 - self.confidence) / 2) / math.log(self.choice_accuracy))

    def out_of_reach(self, samples: Mapping[str, int]) -> str:
        """Return a line about the tiers on which no cell can be emergent, of those whose number of templates, or of
        groups where there are few templates, is given; empty where there are none."""
        few = [f"{tier} ({count})" for tier, count in samples.items() if 0 < count < self.samples_needed]
        if not few:
            return ""
        return (
            f"no cell can be emergent on {', '.join(few)}: too few new templates (in brackets); "
            f"{self.samples_needed} are needed, or as many groups where there are few templates"
        )
