"""What transformers computes, for `study agree`: `python benchmarks/peers/transformers_side.py SPEC.json FOLDER`.

It runs in an environment of its own, with torch and without MLX. For each model of the specification it writes a
folder, as `save_pretrained` does, with weights by the recipe, and what transformers computes from it in float32.
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file
from substitutions import SUBSTITUTIONS
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from study.commands.agreement.recipe import CHANGED, COMPUTED, FAILED, RECIPE, VERSIONS, draw

Json = dict[str, Any]


def main() -> None:
    spec, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    torch.set_num_threads(spec["threads"])
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for model in spec["models"]:
        folder = out / model["name"]
        folder.mkdir(parents=True)
        try:
            if "folder" not in model:
                _make(folder, model, spec["general"])
            source = Path(model.get("folder", folder))
            np.savez(folder / COMPUTED, **_computed(source, model["texts"], {}))
            if model["change"]:
                np.savez(folder / CHANGED, **_computed(source, model["texts"], model["change"]))
        except Exception as error:  # the table says whatever transformers raises
            (folder / FAILED).write_text(f"{type(error).__name__}: {' '.join(str(error).split())}")
    (out / VERSIONS).write_text(json.dumps({name: version(name) for name in ("torch", "transformers")}))


def _make(folder: Path, model: Json, general: Json) -> None:
    """Write a tiny model of an architecture, with the config and the names of weights that transformers saves."""
    torch.manual_seed(0)
    config = _configuration(model["architecture"], general, model["config"])
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    file = folder / "model.safetensors"
    recipe: dict[str, tuple[list[int], float]] = {
        name.removeprefix(model["prefix"]): (list(array.shape), _centre(name, array, model["centres"]))
        for name, array in sorted(load_file(file).items())
    }
    drawn = {name: draw(name, shape, centre) for name, (shape, centre) in recipe.items()}
    save_file(drawn, file, {"format": "pt"})
    (folder / RECIPE).write_text(json.dumps(recipe))


def _configuration(model_type: str, general: Json, settings: Json) -> Any:
    """Return a configuration with those of the general values that its class has, and the settings."""
    config_class = CONFIG_MAPPING[model_type]
    default = config_class().to_dict()
    chosen = {key: value for key, value in general.items() if key in default}
    rotary = default.get("rope_parameters")
    if rotary and "rope_theta" not in rotary:  # by kind of layer
        chosen["rope_parameters"] = {
            kind: {**own, "rope_theta": 500000.0 if kind == "full_attention" else 20000.0}
            for kind, own in rotary.items()
        }
    elif rotary:
        partial = {"partial_rotary_factor": 0.6} if "partial_rotary_factor" in rotary else {}
        chosen["rope_parameters"] = {**rotary, "rope_theta": 500000.0, **partial}
    return config_class(**{**chosen, **settings})


def _centre(name: str, array: np.ndarray, centres: dict[str, float]) -> float:
    """Return the value around which a vector is drawn: as told by the end of its name, or 1 where transformers starts
    it with ones, else 0."""
    for end, centre in centres.items():
        if name.endswith(end):
            return centre
    return float(array.ndim < 2 and bool((array == 1).all()))


def _computed(folder: Path, texts: dict[str, list[int]], change: Json) -> dict[str, np.ndarray]:
    """Return, for each text, the logits and those of the logit lens at every block, from a folder in float32."""
    config = AutoConfig.from_pretrained(folder)
    for key, value in change.get("config", {}).items():
        setattr(config, key, value)
    causal, info = AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ValueError(f"weights that it saved are missing: {info['missing_keys']} {info['mismatched_keys']}")
    causal.eval()
    computed = {}
    with torch.no_grad():
        if substitution := change.get("substitution"):
            SUBSTITUTIONS[substitution](causal)
        for name, ids in texts.items():
            logits, states = _run(causal, torch.tensor([ids]))
            computed[f"logits {name}"] = logits
            computed[f"lens {name}"] = np.stack([_run(causal, torch.tensor([ids]), state)[0] for state in states])
    return computed


def _run(causal: Any, ids: torch.Tensor, injected: torch.Tensor | None = None) -> tuple[np.ndarray, list[torch.Tensor]]:
    """Return the logits and the output of every block; with `injected` in place of the output of the last one."""
    blocks, states = _blocks(causal), []

    def keep(module: Any, inputs: Any, output: Any) -> Any:
        states.append(output[0] if isinstance(output, tuple) else output)
        if injected is None or module is not blocks[-1]:
            return None
        return (injected, *output[1:]) if isinstance(output, tuple) else injected

    hooks = [block.register_forward_hook(keep) for block in blocks]
    try:
        logits = causal(input_ids=ids, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    return logits[0].numpy(), states


def _blocks(causal: Any) -> Any:
    config = causal.config.get_text_config()
    blocks = getattr(config, "num_layers", config.num_hidden_layers)  # longcat_flash counts attentions as layers
    lists = (module for module in causal.modules() if isinstance(module, torch.nn.ModuleList))
    return next(found for found in lists if len(found) == blocks)


if __name__ == "__main__":
    main()
