import pytest

from study.config.catalogue import Model
from study.config.names import ClassName
from study.config.units import Readout
from study.config.wordings import templates
from study.lens.tokens import (
    ClassToken,
    ClassTokenError,
    Encoded,
    Tokenizer,
    check_templates,
    class_tokens,
    continues_answer,
    encode,
    ends_answer,
)
from study.models.limits import EncodingError
from study.models.load import load
from study.tasks.arithmetic import prompt_of


@pytest.fixture(scope="module")
def tokenizer(tiny: Model) -> Tokenizer:
    return load(tiny).tokenizer


def encoded(tokenizer: Tokenizer) -> Encoded:
    return encode(tokenizer, prompt_of(templates("symbolic")[0], "multiply", 7, 8))


def test_an_answer_ends_with_a_stop_and_the_prompt_is_a_prefix(tokenizer: Tokenizer) -> None:
    item = encoded(tokenizer)
    assert tokenizer.decode([*item.prompt_ids, *item.answer_ids[:-1]]).endswith("7 * 8 = 56")
    assert tokenizer.decode(list(item.answer_ids[:-1])).strip() == "56"
    assert ends_answer(tokenizer, item.answer_ids[-1])
    assert not ends_answer(tokenizer, item.answer_ids[0])


def test_a_prompt_is_encoded_as_the_tokenizer_does_with_its_special_tokens(tokenizer: Tokenizer) -> None:
    assert list(encoded(tokenizer).prompt_ids) == tokenizer.encode("7 * 8 =")


def test_a_tokenizer_that_merges_across_the_end_of_the_prompt_is_refused() -> None:
    class Merging:
        eos_token_ids = (0,)

        def encode(self, text: str, **options: object) -> list[int]:
            return [len(text)]

        def decode(self, ids: list[int]) -> str:
            return ""

    with pytest.raises(EncodingError, match="not a prefix"):
        encode(Merging(), prompt_of(templates("symbolic")[0], "add", 2, 3))


@pytest.mark.parametrize(
    ("answer", "next_text", "goes_on"),
    [
        *(("56", "7", True), ("56", ".", False), ("56", "x", False), ("56", " ", False), ("56", "\n", False)),
        *(("Pari", "s", True), ("Paris", ".", False), ("Paris", "1", False), ("Paris", " add", False)),
    ],
)
def test_an_answer_goes_on_where_its_last_number_or_word_does(
    tokenizer: Tokenizer, answer: str, next_text: str, goes_on: bool
) -> None:
    ids = tokenizer.encode(f" {answer}", add_special_tokens=False)
    (token,) = tokenizer.encode(next_text, add_special_tokens=False)
    assert continues_answer(tokenizer, ids, token) == goes_on


@pytest.mark.parametrize(
    ("answer", "follows", "goes_on"),
    [
        *((" 3", text, True) for text in (".5", ",5", "'000", "\u2019000", "\u00a0000", "\u202f000", "0", "٣", "²")),
        *((" 3", text, True) for text in ("/2", "e5", "E-5", "%", "\u066b5")),
        *((" 3", text, False) for text in (".", ",", ". 5", " 000", "/", "e", "x", "th", "-5", ".\n", "")),
        *(("मुंब", "\u0908", True), ("मुंब", "\u0941", True), ("Paris", "-B", False), ("Paris", ".fr", False)),
    ],
)
def test_a_number_goes_on_with_what_makes_it_another_number(answer: str, follows: str, goes_on: bool) -> None:
    class TwoTokens:
        eos_token_ids = (0,)

        def encode(self, text: str, **options: object) -> list[int]:
            return []

        def decode(self, ids: list[int]) -> str:
            return "".join([answer, follows][token] for token in ids)

    assert continues_answer(TwoTokens(), [0], 1) == goes_on


def test_class_tokens_prefer_the_variant_with_a_leading_space(tokenizer: Tokenizer) -> None:
    tokens = class_tokens(tokenizer, Readout(pair={"multiply": "multiply", "add": "add"}))
    assert {name: (token.text, token.leading_space) for name, token in tokens.items()} == {
        "multiply": (" multiply", True),
        "add": (" add", True),
    }


def test_a_class_name_of_several_tokens_is_told_with_what_was_tried(tokenizer: Tokenizer) -> None:
    with pytest.raises(ClassTokenError, match=r"'zyzzyva' is not a single token.*' zyzzyva' is \d+ tokens"):
        class_tokens(tokenizer, Readout(pair={"multiply": "zyzzyva", "add": "add"}))


def test_a_class_token_that_stands_in_a_prompt_is_refused(tokenizer: Tokenizer) -> None:
    item = encode(tokenizer, prompt_of(templates("story")[0], "multiply", 7, 8))
    tokens = class_tokens(tokenizer, Readout(pair={"multiply": "apples", "add": "add"}))
    with pytest.raises(ClassTokenError, match="' apples' stands in the prompt"):
        check_templates([item], tokens)


SEVERAL = {"multiply": "multiplication", "add": "zyzzyva"}
"""Class names of several tokens, which begin differently."""


def read_as(tokenizer: Tokenizer, class_name: ClassName) -> dict[str, ClassToken]:
    return class_tokens(tokenizer, Readout(pair=SEVERAL, class_name=class_name))


def test_a_name_of_several_tokens_is_read_by_its_first_one(tokenizer: Tokenizer) -> None:
    for operation, token in read_as(tokenizer, "first").items():
        # This vocabulary has a token for the space alone, with which all such names would begin.
        assert tokenizer.decode(tokenizer.encode(f" {SEVERAL[operation]}", add_special_tokens=False)[:1]) == " "
        whole = tokenizer.encode(SEVERAL[operation], add_special_tokens=False)
        assert (token.ids, token.text, token.leading_space) == ((whole[0],), SEVERAL[operation][0], False)


def test_a_name_of_several_tokens_is_read_as_their_sequence(tokenizer: Tokenizer) -> None:
    for operation, token in read_as(tokenizer, "sequence").items():
        text = SEVERAL[operation]
        assert list(token.ids) == tokenizer.encode(text, add_special_tokens=False)
        assert (token.text, token.leading_space) == (text, False)


@pytest.mark.parametrize("class_name", ["first", "sequence"])
def test_a_name_of_one_token_is_read_alike_whatever_the_choice(tokenizer: Tokenizer, class_name: ClassName) -> None:
    pair = {"multiply": "multiply", "add": "add"}
    asked = class_tokens(tokenizer, Readout(pair=pair, class_name=class_name))
    assert asked == class_tokens(tokenizer, Readout(pair=pair))


def test_the_refusal_of_several_tokens_says_how_they_can_be_read(tokenizer: Tokenizer) -> None:
    with pytest.raises(ClassTokenError, match="class_name: first or sequence reads it"):
        read_as(tokenizer, "single")


@pytest.mark.parametrize("class_name", ["first", "sequence"])
def test_names_that_begin_with_the_same_token_are_refused(tokenizer: Tokenizer, class_name: ClassName) -> None:
    alike = {"multiply": "zyzzyva", "add": "zyzzyvas"}
    with pytest.raises(ClassTokenError, match="zyzzyva, zyzzyvas begin with the same token"):
        class_tokens(tokenizer, Readout(pair=alike, class_name=class_name))


def test_a_sequence_stands_in_a_prompt_only_as_a_whole(tokenizer: Tokenizer) -> None:
    item = encoded(tokenizer)
    name = ClassToken("7 *", item.prompt_ids[0], False, item.prompt_ids[1:2])
    with pytest.raises(ClassTokenError, match="'7 \\*' stands in the prompt"):
        check_templates([item], {"multiply": name})
    check_templates([item], {"multiply": ClassToken("7 7", item.prompt_ids[0], False, item.prompt_ids[:1])})
