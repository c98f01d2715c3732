"""Rotary positions: what transformers calls `rope_parameters`, in the keys that a class of mlx-lm reads."""

import math
from collections.abc import Mapping
from typing import Any

from study.models.configuration.mended import rotating, with_exact_bounds
from study.models.configuration.part import Part, shown

KEYS = frozenset(
    "rope_parameters rope_scaling rope_theta rotary_emb_base rope_local_base_freq rope_local_theta swa_rope_theta "
    "partial_rotary_factor rotary_pct rotary_dim original_max_position_embeddings".split()
)
"""The keys that are translated and checked here."""
_BASES = ("rope_theta", "rotary_emb_base")
_LOCAL_BASES = ("rope_local_base_freq", "rope_local_theta", "swa_rope_theta")
_SHARES = ("partial_rotary_factor", "rotary_pct")
_BASE = 10000.0
"""The base in classes of mlx-lm that read none."""
_KINDS = ("linear", "dynamic", "llama3", "yarn", "deepseek_yarn", "longrope", "proportional", "mrope")
"""The scalings that `mlx_lm.models.rope_utils.initialize_rope` computes."""
_OWN_KINDS: dict[str, tuple[str, ...]] = {
    "deepseek": ("linear",),
    "deepseek_v2": ("yarn", "deepseek_yarn"),
    "deepseek_v41": _KINDS,
    "gemma3n": (),
    "glm4_moe": (),
    "hunyuan": ("dynamic",),
    "hunyuan_v1_dense": ("dynamic",),
    "kimi_linear": (),
    "minicpm3": ("longrope",),
    "mixtral": (),
    "nemotron": ("linear",),
    "phi3": ("linear", "longrope"),
    "phimoe": ("longrope",),
    "qwen2_moe": (),
    "qwen3_moe": (),
    "solar_open": (),
}
"""Those of classes that compute their own, or take `rope_scaling` and ignore it."""
_BASE_ALONE = ("granitemoehybrid", "lfm2", "lfm2_moe", "muse_glimmer", "olmo_hybrid")
"""Architectures whose classes read the base in `rope_parameters`, and nothing else."""
_OLD_KEYS_FIRST = ("exaone_moe", "qwen3")
"""Architectures whose classes read `rope_parameters`, but `rope_theta` or `rope_scaling` before it."""
_SAME_KIND = {"su": "longrope", "deepseek_yarn": "yarn"}


def translate(part: Part) -> None:
    """Give the class of a part its rotary positions in the keys that it reads; note what it cannot be told."""
    _translate(part)
    for key in (*_BASES, *_LOCAL_BASES):
        base = part.read(key)
        if isinstance(base, int | float) and base <= 0:
            part.problems.append(f"{key} {shown(base)} (a base is above 0)")
    scaling = part.read("rope_scaling")
    factor = scaling.get("factor") if isinstance(scaling, Mapping) else None
    if factor is not None and not (isinstance(factor, int | float) and factor > 0):
        part.problems.append(f"rope_scaling.factor {shown(factor)} (a factor is a number above 0)")


def _translate(part: Part) -> None:
    parameters = part.said("rope_parameters")
    if not isinstance(parameters, Mapping):
        _check_old_keys(part)
    elif "rope_parameters" in part.fields and part.architecture not in _OLD_KEYS_FIRST:
        _pass_on(part, parameters)
    elif _is_nested(parameters):
        _nested(part, {name: one for name, one in parameters.items() if isinstance(one, Mapping)})
    else:
        _base(part, parameters)
        _share(part, parameters)
        _scaling(part, parameters)


def kind_of(parameters: Mapping[str, Any]) -> str:
    """Return the kind of scaling: `default` where there is none."""
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    kind = _SAME_KIND.get(kind, kind)
    return "default" if kind == "mrope" else kind  # its sections are the same positions for text


def _is_nested(parameters: Mapping[str, Any]) -> bool:
    """Whether there are parameters for each kind of block."""
    return any(isinstance(one, Mapping) for one in parameters.values())


def _pass_on(part: Part, parameters: Mapping[str, Any]) -> None:
    """Leave `rope_parameters` to a class that reads it, but for what it does not read there."""
    if part.architecture in _BASE_ALONE and kind_of(parameters) != "default":
        part.problems.append(f"rope_parameters {shown(dict(parameters))} (computed: its base alone)")
    elif "rope_parameters" in part.written:
        if _is_nested(parameters):
            adapted = {name: _adapted(part, one) if one else one for name, one in parameters.items()}
        else:
            adapted = _adapted(part, parameters)
        if adapted != parameters:
            part.replace("rope_parameters", adapted, "rope_parameters")


def _nested(part: Part, by_type: Mapping[str, Mapping[str, Any]]) -> None:
    """Translate parameters by type of layer: those of full attention, and a base of its own for sliding windows."""
    full = by_type.get("full_attention", next(iter(by_type.values())))
    local = next((key for key in _LOCAL_BASES if key in part.fields), None)
    _base(part, full, "full_attention.")
    _share(part, full)
    _scaling(part, full)
    for name, one in by_type.items():
        if one is full:
            continue
        if local and name == "sliding_attention":
            part.replace(local, one["rope_theta"], f"rope_parameters.{name}.rope_theta")
        elif "rope_parameters" in part.written and one.get("rope_theta") != full.get("rope_theta"):
            part.problems.append(f"rope_parameters.{name}.rope_theta {shown(one.get('rope_theta'))} (not computed)")
        if kind_of(one) != "default":
            part.problems.append(f"rope_parameters.{name} {shown(dict(one))} (computed: no scaling)")


def _base(part: Part, parameters: Mapping[str, Any], where: str = "") -> None:
    base, of_attention = parameters.get("rope_theta"), part.said("attn_config")
    if base is None or (isinstance(of_attention, Mapping) and of_attention.get("rope_theta") == base):
        return
    key = next((key for key in _BASES if key in part.fields), None)
    if key:
        part.replace(key, base, f"rope_parameters.{where}rope_theta")
    elif base != _BASE:
        part.problems.append(f"rope_theta {shown(base)} (computed: {_BASE:g})")


def _share(part: Part, parameters: Mapping[str, Any]) -> None:
    """Translate the share of a head's width that is rotated."""
    share = parameters.get("partial_rotary_factor", part.said("partial_rotary_factor"))
    if share is None and not part.needs("rotary_dim"):
        return
    share = 1.0 if share is None else share
    head = part.said("head_dim") or part.said("hidden_size", 0) // part.said("num_attention_heads", 1)
    key = next((key for key in _SHARES if key in part.fields), None)
    if key:
        part.replace(key, share, "rope_parameters.partial_rotary_factor")
    elif part.needs("rotary_dim"):
        if "rotary_dim" not in part.written:
            part.replace("rotary_dim", int(share * head), "rope_parameters.partial_rotary_factor of the head's width")
    elif share != 1.0 and part.architecture == "glm":
        part.mend(rotating(int(share * head)), f"partial_rotary_factor {shown(share)} → the width that is rotated")
    elif share != 1.0 and "rotary_dim" not in part.fields:
        part.problems.append(f"partial_rotary_factor {shown(share)} (computed: 1)")


def _scaling(part: Part, parameters: Mapping[str, Any]) -> None:
    """Translate the scaling into `rope_scaling`, with its kind in both keys that classes look for."""
    kind = kind_of(parameters)
    given: Any = part.written.get("rope_scaling")
    if kind == "default":
        if "rope_scaling" in part.fields and part.needs("rope_scaling") and "rope_scaling" not in part.written:
            part.replace("rope_scaling", None, "rope_parameters.rope_type")
        return
    if "rope_scaling" not in part.fields or kind not in _OWN_KINDS.get(part.architecture, _KINDS):
        part.problems.append(f"rope_scaling of the kind {kind!r} (computed: none)")
        return
    adapted = _adapted(part, parameters).items()
    scaling = {key: value for key, value in adapted if key not in ("rope_theta", "partial_rotary_factor")}
    scaling |= {"type": kind, "rope_type": kind}
    unread = not isinstance(given, Mapping) or ("type" not in given and part.architecture in _OWN_KINDS)
    if unread or any(given.get(key) != scaling[key] for key in _READ if key in scaling):
        part.replace("rope_scaling", scaling, "rope_parameters")


_READ = (
    "factor original_max_position_embeddings low_freq_factor high_freq_factor beta_fast beta_slow mscale "
    "mscale_all_dim short_factor long_factor alpha"
).split()
"""The parameters of a scaling that mlx-lm reads, besides its kind."""


def _adapted(part: Part, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with which mlx-lm computes what they mean, where it reads some of them otherwise."""
    kind, adapted = kind_of(parameters), dict(parameters)
    if kind == "yarn":
        adapted |= _attention_factor(parameters)
        if parameters.get("truncate") is False:
            exact = {"rope_theta": part.said("rope_theta"), **parameters}
            part.mend(with_exact_bounds(exact), "rope_parameters.truncate False → the frequencies")
    elif kind == "longrope":
        short = {long: parameters[name] for name, long in _SHORT.items() if parameters.get(name) is not None}
        trained = parameters.get("original_max_position_embeddings", part.said("original_max_position_embeddings"))
        if trained and any(parameters.get(long) != factors for long, factors in short.items()):
            part.limit(int(trained), f"the {trained} tokens for which the model's rotary factors are computed")
            part.told.append(f"short_factor → long_factor, for texts of at most {trained} tokens")
        adapted |= short
    return adapted


_SHORT = {"short_factor": "long_factor", "short_mscale": "long_mscale"}
"""LongRoPE's factors for short texts, and those of long ones, of which mlx-lm computes the latter at every length."""


def _attention_factor(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return YaRN's factor of attention as the `mscale` that gives it in mlx-lm, where that is not as it is written."""
    stated, factor = parameters.get("attention_factor"), parameters.get("factor", 1.0)
    if factor <= 1:
        return {}
    usual = 0.1 * math.log(factor) + 1.0
    if stated is not None and not ("mscale" not in parameters and math.isclose(stated, usual)):
        return {"mscale": (stated - 1.0) / (0.1 * math.log(factor)), "mscale_all_dim": 0.0}
    both = parameters.get("mscale") and parameters.get("mscale_all_dim")
    return {} if both or "mscale" not in parameters else {"mscale": 1.0}


def _check_old_keys(part: Part) -> None:
    """Note rotary keys of an architecture that transformers does not know, which the class does not read."""
    scaling = part.written.get("rope_scaling")
    if isinstance(scaling, Mapping) and kind_of(scaling) != "default":
        if "rope_scaling" in part.fields:
            part.replace("rope_scaling", _adapted(part, scaling), "rope_scaling")
        else:
            part.problems.append(f"rope_scaling {shown(dict(scaling))} (computed: none)")
    for keys, computed in ((_BASES, _BASE), (_SHARES, 1.0)):
        for key in keys:
            value = part.written.get(key)
            if value is not None and value != computed and not any(one in part.fields for one in keys):
                part.problems.append(f"{key} {shown(value)} (computed: {computed:g})")
