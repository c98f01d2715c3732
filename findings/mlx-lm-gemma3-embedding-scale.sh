#!/bin/sh
# mlx-lm 0.32.2 (mlx 0.32.4) multiplies the embedding of Gemma 3 by sqrt(hidden_size) rounded to bfloat16, in float32 too:
# 12.625 for 12.649 at a width of 160, 25.25 for 25.298 at the 640 of Gemma 3 270M. transformers 5.23.0 (torch 2.13.0)
# does not round in float32; nor does mlx-lm in Gemma, Gemma 2 and Gemma 4. (In bfloat16 both
# round; huggingface/transformers issue 38702 asks transformers to round in float32 too.)
# Seen: the logits of a random model differ by 0.5 % of their standard deviation, and by 3e-6 with the rounded factor in
# transformers.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.23.0 mlx-lm==0.32.2 \
    'mlx[cpu]==0.32.4; sys_platform == "linux"' 'mlx==0.32.4; sys_platform == "darwin"'
cd "$place"
HF_HUB_OFFLINE=1 env/bin/python - <<'END'
import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from mlx_lm.utils import load_model
from transformers import AutoModelForCausalLM, Gemma3TextConfig

mx.set_default_device(mx.cpu)
torch.manual_seed(0)
ids = torch.arange(5, 17)[None]
config = Gemma3TextConfig(
    vocab_size=300, hidden_size=160, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=40, layer_types=["sliding_attention", "full_attention"],
)
model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
with torch.no_grad():
    model.save_pretrained("model")
    file = Path("model/config.json")
    saved = json.loads(file.read_text())
    # As published ones have it:
    file.write_text(json.dumps({**saved, "rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 2}))
    meant = model(ids, use_cache=False).logits[0].numpy()
    scale = model.model.embed_tokens.embed_scale
    scale.copy_(scale.to(torch.bfloat16))
    changed = model(ids, use_cache=False).logits[0].numpy()
theirs, _ = load_model(Path("model"))
theirs.set_dtype(mx.float32)
logits = np.array(theirs(mx.array(ids.numpy()))[0])
apart, without = (float(np.abs(logits - ours).max() / ours.std()) for ours in (meant, changed))
print(f"largest difference over the standard deviation of the logits: {apart:.1e}")
print(f"with the rounded factor in transformers: {without:.1e}")
assert apart > 1e-3 and without < 1e-4, "this has changed"
END
