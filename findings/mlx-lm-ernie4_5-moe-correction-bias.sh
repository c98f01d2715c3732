#!/bin/sh
# mlx-lm 0.32.2 (mlx 0.32.4) drops the weights moe_statics.e_score_correction_bias of ERNIE 4.5's mixture models, by which
# their experts are chosen, without a word. transformers 5.23.0 (torch 2.13.0) adds them to the scores.
# Seen: with random biases the logits of a random model differ by 0.8 of their standard deviation, and by 2e-6 where the
# biases are 0 in transformers.
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
from transformers import AutoModelForCausalLM, Ernie4_5_MoeConfig

mx.set_default_device(mx.cpu)
torch.manual_seed(0)
ids = torch.arange(5, 17)[None]
config = Ernie4_5_MoeConfig(
    vocab_size=300, hidden_size=160, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, moe_intermediate_size=96, moe_num_experts=4, moe_k=2,
    moe_layer_end_index=1,
)
model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
with torch.no_grad():
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("e_score_correction_bias"):
            values.normal_(0, 0.3)
    model.save_pretrained("model")
    file = Path("model/config.json")
    saved = json.loads(file.read_text())
    # As published ones have it:
    file.write_text(json.dumps({**saved, "rope_theta": 5e5}))
    meant = model(ids, use_cache=False).logits[0].numpy()
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("e_score_correction_bias"):
            values.zero_()
    changed = model(ids, use_cache=False).logits[0].numpy()
theirs, _ = load_model(Path("model"))
theirs.set_dtype(mx.float32)
logits = np.array(theirs(mx.array(ids.numpy()))[0])
apart, without = (float(np.abs(logits - ours).max() / ours.std()) for ours in (meant, changed))
print(f"largest difference over the standard deviation of the logits: {apart:.1e}")
print(f"with biases of 0 in transformers: {without:.1e}")
assert apart > 1e-2 and without < 1e-4, "this has changed"
END
