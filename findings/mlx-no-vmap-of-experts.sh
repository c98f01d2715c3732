#!/bin/sh
# mlx 0.32.4 has no vmap of the product that mixtures of experts are made of (gather_mm). So mlx.core.vmap, by which
# Jacobians and per-example gradients are taken, works for dense models of mlx-lm 0.32.2 and not for any with experts,
# which only shows when such a model is tried. The forward pass, gradients and vjp of the same model work.
# Seen, for models of 2 blocks with random weights: one vjp for each of four output dimensions through vmap gives the
# rows that single vjps give for llama; for mixtral it raises ValueError, whose text names GatherMM.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check mlx-lm==0.32.2 \
    'mlx[cpu]==0.32.4; sys_platform == "linux"' 'mlx==0.32.4; sys_platform == "darwin"'
cd "$place"
HF_HUB_OFFLINE=1 env/bin/python - <<'END'
import mlx.core as mx
from mlx_lm.utils import _get_classes

mx.set_default_device(mx.cpu)
sizes = dict(
    hidden_size=32, num_hidden_layers=2, intermediate_size=64, num_attention_heads=4, num_key_value_heads=4,
    rms_norm_eps=1e-5, vocab_size=97, rope_theta=10000.0, num_local_experts=4, num_experts_per_tok=2,
)
ids = mx.arange(5, 11)[None]


def rows(architecture):
    """Rows of the Jacobian of the logits at the last position by the input embeddings' shift, one a vjp."""
    model_class, arguments = _get_classes({"model_type": architecture, **sizes})
    mx.random.seed(0)
    model = model_class(arguments.from_dict({"model_type": architecture, **sizes}))
    embedding = model.model.embed_tokens.weight

    def logits(shift):
        model.model.embed_tokens.weight = embedding + shift
        return model(ids)[0, -1]

    def row(output):
        asked = (mx.arange(97) == output).astype(mx.float32)
        return mx.vjp(logits, [mx.zeros(32)], [asked])[1][0]

    return row


row = rows("llama")
outputs = mx.arange(4)
single = mx.stack([row(output) for output in outputs])
assert mx.allclose(mx.vmap(row)(outputs), single, atol=1e-5).item(), "this has changed: llama differs"

row = rows("mixtral")
single = mx.stack([row(output) for output in outputs])
mx.eval(single)
assert mx.isfinite(single).all().item()
try:
    mx.eval(mx.vmap(row)(outputs))
except ValueError as error:
    assert "GatherMM" in str(error), f"this has changed: {error}"
    print(f"as described: {error}")
else:
    raise SystemExit("this has changed: experts have a vmap")
END
