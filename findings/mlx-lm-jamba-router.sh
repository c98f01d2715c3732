#!/bin/sh
# mlx-lm 0.32.2 (mlx 0.32.4) makes the shares of Jamba's chosen experts add up to 1. transformers 5.23.0 (torch 2.13.0), as
# the authors' code, leaves them as they are among all experts, so that they add up to less.
# Seen: the logits of a random model differ by 0.4 of their standard deviation, and by 2e-5 with shares that add up to 1 in
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
from transformers import AutoModelForCausalLM, JambaConfig

mx.set_default_device(mx.cpu)
torch.manual_seed(0)
ids = torch.arange(5, 17)[None]
config = JambaConfig(
    vocab_size=300, hidden_size=160, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, num_experts=4, attn_layer_period=2, attn_layer_offset=1,
    mamba_dt_rank=10, use_mamba_kernels=False, pad_token_id=0,
)
model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
with torch.no_grad():
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if "proj" in name or "router" in name:
            values.normal_(0, 0.1)
    model.save_pretrained("model")
    file = Path("model/config.json")
    saved = json.loads(file.read_text())
    # As published ones have it:
    file.write_text(json.dumps({**saved, "model_type": "jamba"}))
    meant = model(ids, use_cache=False).logits[0].numpy()
    for module in model.modules():
        if type(module).__name__ == "JambaTopKRouter":
            module.register_forward_hook(lambda _, inputs, out: (out[0], out[1] / out[1].sum(-1, True), out[2]))
    changed = model(ids, use_cache=False).logits[0].numpy()
theirs, _ = load_model(Path("model"))
theirs.set_dtype(mx.float32)
logits = np.array(theirs(mx.array(ids.numpy()))[0])
apart, without = (float(np.abs(logits - ours).max() / ours.std()) for ours in (meant, changed))
print(f"largest difference over the standard deviation of the logits: {apart:.1e}")
print(f"with shares that add up to 1 in transformers: {without:.1e}")
assert apart > 1e-2 and without < 1e-4, "this has changed"
END
