"""The models of a study's nursery as entries of a catalogue."""

from study.config.architectures import UNTIED
from study.config.catalogue import BuiltSource, Model
from study.config.data import Data
from study.config.examples import Examples
from study.config.nursery import NurseryModel
from study.config.study import Study
from study.plan.expand import class_words
from study.tasks import text_of


def nursery_models(study: Study) -> dict[str, Model]:
    """Return the models of the nursery by name, the base first; empty where the study has none."""
    if study.nursery is None or isinstance(study.data, Examples):
        return {}
    words, arithmetic = text_of(study.data, class_words(study)).vocabulary, isinstance(study.data, Data)
    return {name: _entry(one, words, arithmetic) for name, one in study.nursery.models.items()}


def _entry(one: NurseryModel, words: list[str], arithmetic: bool) -> Model:
    """Return the entry of a model with random weights, which the training seeds."""
    # Left out where it is so anyway, so that ids do not depend on it.
    head = {} if one.tied and one.architecture not in UNTIED else {"tie_word_embeddings": one.tied}
    source = BuiltSource(
        built=one.architecture,
        hidden_size=one.hidden_size,
        intermediate_size=one.intermediate_size,
        attention_heads=one.attention_heads,
        words=words,
        arithmetic=arithmetic,
        settings={**head, **one.settings},
    )
    return Model(source=source, blocks=one.blocks, licence="none: trained by the study")
