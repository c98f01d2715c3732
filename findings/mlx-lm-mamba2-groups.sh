#!/bin/sh
# mlx-lm 0.32.2 (mlx 0.32.4) takes the gated norm of Mamba 2 over all groups at once. The authors' mamba_ssm and
# transformers 5.23.0 (torch 2.13.0) take it group by group. Mamba-Codestral-7B has 8 groups; models of 1 are not affected.
# Seen: with 2 groups the logits of a random model differ by 3 times their standard deviation, and by 5e-6 of it with the
# norm over all groups in transformers.
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
from transformers import AutoModelForCausalLM, Mamba2Config

mx.set_default_device(mx.cpu)
torch.manual_seed(0)
ids = torch.arange(5, 17)[None]
config = Mamba2Config(
    vocab_size=300, hidden_size=160, num_hidden_layers=2, num_heads=8, head_dim=40, state_size=16, n_groups=2,
    pad_token_id=0,
)
model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
with torch.no_grad():
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if "proj" in name or "conv1d" in name:
            values.normal_(0, 0.3)
    model.save_pretrained("model")
    file = Path("model/config.json")
    saved = json.loads(file.read_text())
    # As published ones have it:
    file.write_text(json.dumps({**saved, "intermediate_size": 320}))
    meant = model(ids, use_cache=False).logits[0].numpy()
    for module in model.modules():
        if type(module).__name__ == "MambaRMSNormGated":
            module.group_size = len(module.weight)
    changed = model(ids, use_cache=False).logits[0].numpy()
theirs, _ = load_model(Path("model"))
theirs.set_dtype(mx.float32)
logits = np.array(theirs(mx.array(ids.numpy()))[0])
apart, without = (float(np.abs(logits - ours).max() / ours.std()) for ours in (meant, changed))
print(f"largest difference over the standard deviation of the logits: {apart:.1e}")
print(f"with the norm over all groups in transformers: {without:.1e}")
assert apart > 1e-2 and without < 1e-4, "this has changed"
END
