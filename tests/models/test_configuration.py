"""The model that is computed is the one that its config.json means: keys are translated for mlx-lm, or refused."""

import inspect
import json
import math
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.utils import _get_classes

from study.config.architectures import UNTIED
from study.config.catalogue import BuiltSource, Model
from study.models import ModelError
from study.models.arguments import architectures, module_of
from study.models.cache import WORD_TOKENIZER
from study.models.configuration import read, rotary
from study.models.configuration.harmless import is_harmless
from study.models.configuration.values import OWN, USUAL
from study.models.limits import TooLongError
from study.models.load import Loaded, fetch, load_folder
from study.models.tiny import NOT_TINY, Sizes, configuration

HERE = Path(__file__).parent
PUBLISHED: dict[str, dict[str, Any]] = json.loads((HERE / "published_configs.json").read_text())
CATALOGUE: dict[str, dict[str, Any]] = json.loads((HERE.parent / "config" / "hub_configs.json").read_text())
BASE = 500_000.0
DEFAULT = {"rope_type": "default", "rope_theta": BASE}
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
IDS = mx.array([[1, 40, 7, 99, 23, 11, 64, 5, 70, 31, 2, 18]])


def tiny(architecture: str, **settings: Any) -> Path:
    return fetch(Model(source=BuiltSource(built=architecture, settings=settings), blocks=4))


def copied(folder: Path, to: Path, without: tuple[str, ...] = (), **keys: Any) -> Path:
    """Copy a model, with other keys in its config.json."""
    shutil.copytree(folder, to)
    config = {key: value for key, value in json.loads((to / "config.json").read_text()).items() if key not in without}
    (to / "config.json").write_text(json.dumps({**config, **keys}))
    return to


def logits(loaded: Loaded) -> mx.array:
    found: mx.array = loaded.model(IDS)
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_read(name: str) -> None:
    config = PUBLISHED[name]
    given = {**config, **read(config, Path(name)).replaced}
    _get_classes(given)[1].from_dict(given)


def test_all_models_of_the_catalogue_are_read() -> None:
    for name, config in CATALOGUE.items():
        read(config, Path(name))


def test_windows_and_factors_of_published_models_bound_their_texts() -> None:
    bounds = {name: read(config, Path(name)).longest for name, config in PUBLISHED.items()}
    assert {name: bound for name, bound in bounds.items() if bound} == {
        "mistralai/Mistral-7B-v0.1": 4096,
        "google/gemma-2-2b-it": 4096,
        "microsoft/Phi-3-mini-4k-instruct": 2047,
        "microsoft/Phi-3.5-mini-instruct": 4096,
        "microsoft/Phi-4-mini-instruct": 4096,
        "bigcode/starcoder2-3b": 4096,
    }


def test_every_tiny_model_is_read_as_it_is() -> None:
    sizes = Sizes(64, 128, 4, 4, 300)
    for architecture in architectures():
        if architecture in NOT_TINY or architecture == "olmo":  # which needs a package that is not installed
            continue
        config = {**configuration(architecture, sizes, {}), "tokenizer": WORD_TOKENIZER}
        _get_classes(config)[1].from_dict(config)  # some classes change what they are given, as before it is written
        reading = read(config, Path(architecture))
        assert (reading.told, reading.replaced, reading.longest) == ((), {}, None), architecture


def test_architectures_whose_tiny_models_are_untied_are_known_without_mlx_lm() -> None:
    sizes, found = Sizes(64, 128, 4, 4, 300), set[str]()
    for architecture in architectures():
        if architecture not in NOT_TINY and architecture != "olmo":
            config = configuration(architecture, sizes, {})
            if {**config, **config.get("text_config", {})}.get("tie_word_embeddings") is False:
                found.add(architecture)
    assert found == set(UNTIED)


@pytest.mark.parametrize(
    ("architecture", "share"),
    [
        ("llama", None),
        ("qwen2", None),
        ("mistral", None),
        ("gemma2", None),
        ("olmo2", None),
        ("phi3", None),
        ("granite", None),
        ("glm4", 0.5),
        ("gpt_neox", 0.25),
        ("stablelm", 0.5),
        ("cohere", None),
    ],
)
def test_the_keys_of_transformers_5_give_the_same_logits(
    architecture: str, share: float | None, tmp_path: Path
) -> None:
    base, part = (
        ("rotary_emb_base", "rotary_pct") if architecture == "gpt_neox" else ("rope_theta", "partial_rotary_factor")
    )
    folder = tiny(architecture, **{base: BASE, **({part: share} if share else {})})
    parameters = {**DEFAULT, **({"partial_rotary_factor": share} if share else {})}
    without = (base, part) if share else (base,)
    other = load_folder(copied(folder, tmp_path / "new", without, rope_parameters=parameters), 4)
    assert any(line == f"rope_parameters.rope_theta {BASE:g} → {base}" for line in other.reading.told)
    assert mx.array_equal(logits(load_folder(folder, 4)), logits(other)).item()
    if architecture != "cohere":  # its default is another base
        plain = {**parameters, "rope_theta": 10_000.0}
        unlike = load_folder(copied(folder, tmp_path / "plain", without, rope_parameters=plain), 4)
        assert not mx.array_equal(logits(unlike), logits(other)).item(), "the base matters"


@pytest.mark.parametrize(
    ("architecture", "scaling"),
    [
        ("llama", LLAMA_3),
        ("llama", {"rope_type": "linear", "factor": 4.0}),
        ("qwen2", {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
        ("qwen3", {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
        ("nemotron", {"rope_type": "linear", "factor": 4.0}),
    ],
)
def test_scalings_of_transformers_5_give_the_same_logits(
    architecture: str, scaling: dict[str, Any], tmp_path: Path
) -> None:
    old = {**scaling, "type": scaling["rope_type"]}
    folder = copied(tiny(architecture), tmp_path / "old", rope_theta=BASE, rope_scaling=old)
    parameters = {**scaling, "rope_theta": BASE}
    new = copied(folder, tmp_path / "new", ("rope_theta", "rope_scaling"), rope_parameters=parameters)
    assert mx.array_equal(logits(load_folder(folder, 4)), logits(load_folder(new, 4))).item()
    plain = copied(folder, tmp_path / "plain", ("rope_scaling",))
    assert not mx.array_equal(logits(load_folder(folder, 4)), logits(load_folder(plain, 4))).item()


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "lfm2"])
def test_of_old_and_new_keys_the_new_ones_count(architecture: str, tmp_path: Path) -> None:
    folder = tiny(architecture, rope_theta=BASE)
    both = copied(folder, tmp_path / "both", rope_theta=77.0, rope_parameters=DEFAULT)
    assert mx.array_equal(logits(load_folder(folder, 4)), logits(load_folder(both, 4))).item()


def test_parameters_by_kind_of_block_and_the_kinds_give_the_same_logits(tmp_path: Path) -> None:
    full, local = (
        {"rope_type": "linear", "factor": 4.0, "rope_theta": BASE},
        {"rope_type": "default", "rope_theta": 700.0},
    )
    own = {"rope_theta": BASE, "rope_local_base_freq": 700.0, "sliding_window": 4, "sliding_window_pattern": 2}
    folder = tiny("gemma3_text", **own, rope_scaling={"rope_type": "linear", "factor": 4.0})
    new = copied(
        folder,
        tmp_path / "new",
        ("rope_theta", "rope_local_base_freq", "rope_scaling", "sliding_window_pattern"),
        rope_parameters={"full_attention": full, "sliding_attention": local},
        layer_types=["sliding_attention", "full_attention"] * 2,
    )
    assert mx.array_equal(logits(load_folder(folder, 4)), logits(load_folder(new, 4))).item()
    irregular = {"layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]}
    with pytest.raises(
        ModelError, match=r"layer_types \['full_attention', .* \(computed: full attention in every n-th"
    ):
        load_folder(copied(new, tmp_path / "irregular", **irregular), 4)


def test_the_text_of_a_model_of_several_kinds_is_read_too(tmp_path: Path) -> None:
    folder = tiny("gemma3", rope_theta=BASE)
    text = json.loads((folder / "config.json").read_text())["text_config"]
    del text["rope_theta"]
    parameters = {"full_attention": DEFAULT, "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}}
    new = copied(folder, tmp_path / "new", text_config={**text, "rope_parameters": parameters})
    assert mx.array_equal(logits(load_folder(folder, 4)), logits(load_folder(new, 4))).item()
    bad = copied(folder, tmp_path / "bad", text_config={**text, "attn_logit_softcapping": 50.0}, twist=3)
    with pytest.raises(ModelError, match=r"attn_logit_softcapping 50 \(computed: none\); twist 3 \(not known\)"):
        load_folder(bad, 4)


@pytest.mark.parametrize(
    ("architecture", "left_out"),
    [("gpt2", "n_ctx"), ("lfm2", "block_dim"), ("qwen3_moe", "head_dim"), ("apertus", "qk_norm")],
)
def test_keys_that_follow_from_others_are_filled_in(architecture: str, left_out: str, tmp_path: Path) -> None:
    folder = tiny(architecture)
    new = load_folder(copied(folder, tmp_path / "new", (left_out,)), 4)
    assert [line for line in new.reading.told if line.startswith(f"{left_out} ") and "follows from" in line]
    assert mx.array_equal(logits(load_folder(folder, 4)), logits(new)).item()


def test_keys_that_are_left_out_are_those_of_transformers_where_mlx_lm_has_another_default() -> None:
    config = {**PUBLISHED["HuggingFaceTB/SmolLM2-360M-Instruct"]}
    del config["tie_word_embeddings"]
    assert read(config, Path("x")).replaced == {"tie_word_embeddings": False}
    del config["rope_theta"]
    assert "rope_theta" not in read(config, Path("x")).replaced, "both have the same"
    config |= {"model_type": "qwen2", "rope_scaling": None}
    assert read(config, Path("x")).replaced["rope_theta"] == 10_000.0, "and 1,000,000 in mlx-lm"


def test_a_configuration_that_transformers_does_not_accept_is_told() -> None:
    config = {**PUBLISHED["Qwen/Qwen3-0.6B"], "initializer_range": "wide"}
    assert "transformers does not accept this config.json" in read(config, Path("folder")).told[-1]


@pytest.mark.parametrize(
    ("architecture", "keys", "told"),
    [
        ("llama", {"tie_word_embeddings": "false"}, r"tie_word_embeddings 'false' \(it is true or false\)"),
        ("llama", {"rms_norm_eps": "x"}, r"rms_norm_eps 'x' \(it is a number\)"),
        ("llama", {"rms_norm_eps": math.nan}, r"rms_norm_eps nan \(it is no finite number\)"),
        ("llama", {"rope_theta": -1.0}, r"rope_theta -1 \(a base is above 0\)"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 0}}, r"rope_scaling.factor 0 \(a factor is"),
        ("llama", {"hidden_act": "gelu"}, r"hidden_act 'gelu' \(computed: 'silu' or 'swish'\)"),
        ("llama", {"partial_rotary_factor": 0.5}, r"partial_rotary_factor 0.5 \(computed: 1\)"),
        ("qwen2", {"head_dim": 7}, r"head_dim 7 \(computed: 16\)"),
        ("olmoe", {"clip_qkv": 8.0}, r"clip_qkv 8 \(computed: none\)"),
        ("qwen2_moe", {"norm_topk_prob": True}, r"norm_topk_prob True \(computed: none\)"),
        ("gemma3_text", {"final_logit_softcapping": 30.0}, r"final_logit_softcapping 30 "),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
        ("gpt2", {"activation_function": "relu"}, "activation_function 'relu'"),
        ("mixtral", {"rope_parameters": {**LLAMA_3, "rope_theta": 1e6}}, r"rope_scaling of the kind 'llama3'"),
        ("gptj", {"rope_theta": 20_000.0}, r"rope_theta 20000 \(computed: 10000\)"),
        ("qwen2", {"layer_types": ["full_attention", "linear_attention"]}, "layer_types with linear_attention"),
        ("llama", {"a_new_idea": True}, r"a_new_idea True \(not known\)"),
    ],
)
def test_what_mlx_lm_would_compute_otherwise_is_refused(architecture: str, keys: dict[str, Any], told: str) -> None:
    config = {**configuration(architecture, Sizes(64, 128, 4, 4, 300), {}), "tokenizer": WORD_TOKENIZER}
    read(config, Path("folder"))
    with pytest.raises(ModelError, match=f"another model than the config.json of folder means .*{told}") as refusal:
        read({**config, **keys}, Path("folder"))
    assert "Use another model; or, where a key does not change what the model computes, remove it" in str(refusal.value)


def test_nulls_say_nothing() -> None:
    read({**PUBLISHED["Qwen/Qwen3-0.6B"], "a_new_idea": None, "clip_qkv": None}, Path("folder"))


def test_texts_beyond_a_window_that_is_not_computed_are_refused(tmp_path: Path) -> None:
    for architecture in ("mistral", "gemma2"):
        short = load_folder(copied(tiny(architecture), tmp_path / architecture, sliding_window=4), 4).tokenizer
        assert len(short.encode("abc")) == 4
        with pytest.raises(TooLongError, match=r"'abcd' has 5 tokens, more than the window of 4 tokens, without"):
            short.encode("abcd")
    assert load_folder(copied(tiny("gemma3_text"), tmp_path / "with", sliding_window=4), 4).tokenizer.encode("abcd")


def test_longrope_has_the_factors_of_short_texts(tmp_path: Path) -> None:
    short, long = [1.0 + 0.1 * i for i in range(8)], [3.0 + i for i in range(8)]
    scaling = {"type": "longrope", "short_factor": short, "long_factor": short}
    folder = copied(tiny("phi3"), tmp_path / "short", original_max_position_embeddings=8, rope_scaling=scaling)
    both = copied(folder, tmp_path / "both", rope_scaling={**scaling, "long_factor": long})
    ours = load_folder(both, 4)
    assert mx.array_equal(logits(load_folder(folder, 4)), logits(ours)).item()
    with pytest.raises(TooLongError, match="more than the 8 tokens for which the model's rotary factors are computed"):
        ours.tokenizer.encode("abcdefgh")


def test_no_key_is_both_harmless_and_checked() -> None:
    checked = {key for rules in (USUAL, *OWN.values()) for key in rules} | rotary.KEYS
    assert not {key for key in checked if is_harmless(key)}


def test_own_rules_are_of_architectures_that_mlx_lm_has() -> None:
    for architecture in OWN:
        assert inspect.ismodule(module_of(architecture))


def test_scores_of_yarn_are_scaled_as_config_json_states(tmp_path: Path) -> None:
    usual = {"rope_type": "yarn", "rope_theta": BASE, "factor": 4.0, "original_max_position_embeddings": 64}
    folder = copied(tiny("llama"), tmp_path / "usual", ("rope_theta",), rope_parameters=usual)
    scales = []
    for name, stated in (("same", 0.1 * math.log(4.0) + 1.0), ("other", 1.4)):
        parameters = {**usual, "attention_factor": stated}
        model: Any = load_folder(copied(folder, tmp_path / name, rope_parameters=parameters), 4).model
        scales.append(model.layers[0].self_attn.rope.mscale)
    usual_model: Any = load_folder(folder, 4).model
    assert scales == pytest.approx([usual_model.layers[0].self_attn.rope.mscale, 1.4])


def test_bounds_of_yarn_are_rounded_only_where_config_json_says_so(tmp_path: Path) -> None:
    parameters = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 64}
    found = []
    for truncate in (True, False):
        keys = {"rope_parameters": {**parameters, "truncate": truncate}}
        model: Any = load_folder(copied(tiny("llama"), tmp_path / str(truncate), ("rope_theta",), **keys), 4).model
        found.append(model.layers[0].self_attn.rope._freqs.tolist())
    of_transformers = [
        [1.0, 4.21637, 20.0, 126.491, 400.0, 1264.91, 4000.0, 12649.1],
        [1.0, 5.03566, 39.0697, 126.491, 400.0, 1264.91, 4000.0, 12649.1],
    ]
    assert found[0] == pytest.approx(of_transformers[0], rel=1e-5)
    assert found[1] == pytest.approx(of_transformers[1], rel=1e-5)


def test_a_part_of_each_head_is_rotated_in_glm(tmp_path: Path) -> None:
    parameters = {**DEFAULT, "partial_rotary_factor": 0.5}
    loaded = load_folder(copied(tiny("glm"), tmp_path / "glm", ("rope_theta",), rope_parameters=parameters), 4)
    model: Any = loaded.model
    heads = mx.random.normal((1, 4, 6, 16))
    turned = model.layers[0].self_attn.rope(heads)
    assert mx.array_equal(turned[..., 8:], heads[..., 8:]).item()
    assert not mx.allclose(turned[:, :, 1:, :8], heads[:, :, 1:, :8]).item()
    assert "partial_rotary_factor 0.5 → the width that is rotated" in loaded.reading.told


def test_the_multipliers_of_falcon_h1_that_mlx_lm_leaves_out_are_applied(tmp_path: Path) -> None:
    own = {"tokenizer": None, "mamba_d_state": 128, "key_multiplier": 0.5, "attention_in_multiplier": 3.0}
    converted = copied(tiny("falcon_h1"), tmp_path / "converted", **own)
    with pytest.raises(ModelError, match="was converted by mlx-lm, which leaves out Falcon-H1's key_multiplier"):
        load_folder(converted, 4)
    original = copied(converted, tmp_path / "original")
    weights: Any = mx.load(str(original / "model.safetensors"))
    for name, weight in weights.items():
        if name.endswith("conv1d.weight"):
            weights[name] = weight.transpose(0, 2, 1)
    mx.save_safetensors(str(original / "model.safetensors"), weights, {"format": "mlx"})
    model: Any = load_folder(original, 4).model
    factors = {"q_proj": 3.0, "k_proj": 1.5, "v_proj": 3.0}
    for name, factor in factors.items():
        ours, stored = model.layers[1].self_attn[name].weight, weights[f"model.layers.1.self_attn.{name}.weight"]
        assert mx.allclose(ours, factor * stored).item(), name


@pytest.mark.parametrize(
    ("name", "keys", "warned"),
    [
        ("google/gemma-3-270m", {}, "embedding's factor rounded to bfloat16"),
        ("google/gemma-3-4b-it", {}, "embedding's factor rounded to bfloat16"),
        ("google/gemma-3-270m", {"hidden_size": 1024}, ""),
        ("google/gemma-2b", {}, "the exact GELU"),  # its "gelu" means the approximation
        ("EleutherAI/pythia-160m", {}, "GELU's approximation by tanh"),
        ("EleutherAI/pythia-160m", {"hidden_act": "gelu_new"}, ""),
        ("bigcode/starcoder2-3b", {}, "the exact GELU"),
        ("Qwen/Qwen3-0.6B", {}, ""),
    ],
)
def test_small_disagreements_are_warnings_where_they_have_an_effect(
    name: str, keys: dict[str, Any], warned: str
) -> None:
    warnings = read({**PUBLISHED[name], **keys}, Path(name)).warnings
    assert len(warnings) == bool(warned)
    assert all(warned in warning for warning in warnings)


@pytest.mark.parametrize(
    ("config", "without", "told"),
    [
        ({"model_type": "mamba2", "n_groups": 2}, {"n_groups": 1}, "transformers it group by group"),
        (
            {"model_type": "falcon_h1", "mamba_rms_norm": True, "mamba_n_groups": 2},
            {"mamba_rms_norm": False},
            "transformers it group by group",
        ),
        ({"model_type": "jamba", "num_experts": 4}, {"num_experts": 1}, "transformers those among all experts"),
        ({"model_type": "ernie4_5_moe"}, {"moe_use_aux_free": False}, "without e_score_correction_bias"),
    ],
)
def test_large_disagreements_stop_the_model_where_they_have_an_effect(
    config: dict[str, Any], without: dict[str, Any], told: str
) -> None:
    with pytest.raises(ModelError, match=told):
        read(config, Path("folder"))
    read({**config, **without}, Path("folder"))
