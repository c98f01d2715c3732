#!/bin/sh
# mlx-lm 0.32.2 (mlx 0.32.4) builds a language-model head for every Helium model, also where tie_word_embeddings is true:
# the logits are then those of the embedding, and `lm_head` takes part in nothing. Llama with the same setting has none.
# Whoever finds a model's unembedding by its name or shape reads a matrix of random numbers there.
# Seen, for a model of 2 blocks with tied embeddings: parameters hold lm_head.weight; other values in it change no logit,
# other values in the embedding do; a checkpoint without it, as transformers saves tied models, is refused with "Missing
# 1 parameters: lm_head.weight".
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check mlx-lm==0.32.2 \
    'mlx[cpu]==0.32.4; sys_platform == "linux"' 'mlx==0.32.4; sys_platform == "darwin"'
cd "$place"
HF_HUB_OFFLINE=1 env/bin/python - <<'END'
import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes

mx.set_default_device(mx.cpu)
ids = mx.arange(5, 17)[None]
sizes = dict(
    hidden_size=32, num_hidden_layers=2, intermediate_size=64, num_attention_heads=4, num_key_value_heads=4,
    rms_norm_eps=1e-5, vocab_size=97, attention_bias=False, head_dim=8, max_position_embeddings=64, mlp_bias=False,
    rope_theta=10000.0, tie_word_embeddings=True,
)


def made(architecture):
    model_class, arguments = _get_classes({"model_type": architecture, **sizes})
    return model_class(arguments.from_dict({"model_type": architecture, **sizes}))


assert "lm_head" not in made("llama")
model = made("helium")
assert "lm_head" in model, "this has changed: no head is built"
before = model(ids)
model.lm_head.weight = model.lm_head.weight + 1.0
unused = mx.array_equal(before, model(ids)).item()
saved = [(name, value) for name, value in tree_flatten(model.parameters()) if name != "lm_head.weight"]
try:
    made("helium").load_weights(saved)
    said = "nothing"
except ValueError as error:
    said = str(error)
model.model.embed_tokens.weight = model.model.embed_tokens.weight * 2.0
print(f"other values in lm_head change no logit: {unused}; a checkpoint without it: {said!r}")
assert unused and not mx.allclose(before, model(ids)).item(), "this has changed: the head is used"
assert "lm_head.weight" in said, "this has changed: a checkpoint without the head is loaded"
END
