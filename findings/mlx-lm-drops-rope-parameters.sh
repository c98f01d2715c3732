#!/bin/sh
# mlx-lm 0.32.2 (mlx 0.32.4) takes its own rotary base for models that transformers 5 saved. Since version 5,
# transformers writes the base as rope_parameters to config.json, and no rope_theta; mlx-lm drops keys that a class lacks.
# A model that was fine-tuned, merged or converted with transformers 5.23.0 loads without a word and gives other logits
# (ml-explore/mlx-lm pull request 953 is about the same keys).
# Seen, for random models with a base of 500,000 of eight architectures: from the config.json that transformers saves, the
# logits differ from those with rope_theta by 0.03 (qwen2) to 1 (olmo2) times their standard deviation, without a message.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 mlx-lm==0.32.2 \
    'mlx[cpu]==0.32.4; sys_platform == "linux"' 'mlx==0.32.4; sys_platform == "darwin"'
cd "$place"
HF_HUB_OFFLINE=1 env/bin/python - <<'END'
import json
from pathlib import Path

import mlx.core as mx
from mlx_lm.utils import _get_classes
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

mx.set_default_device(mx.cpu)
ids = mx.arange(5, 17)[None]


def logits(config):
    model_class, arguments = _get_classes(config)
    mx.random.seed(0)
    return model_class(arguments.from_dict(config))(ids)


for architecture in ("llama", "mistral", "qwen2", "gemma2", "olmo2", "mixtral", "starcoder2", "smollm3"):
    CONFIG_MAPPING[architecture](
        vocab_size=300, hidden_size=160, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=40, pad_token_id=0, max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
    ).save_pretrained(architecture)
    saved = json.loads(Path(architecture, "config.json").read_text())
    assert saved["rope_parameters"]["rope_theta"] == 500000.0 and "rope_theta" not in saved
    as_saved, as_meant = logits(saved), logits({**saved, "rope_theta": 500000.0})
    apart = (mx.abs(as_saved - as_meant).max() / as_meant.std()).item()
    print(f"{architecture}: largest difference over the standard deviation of the logits: {apart:.2g}")
    assert apart > 1e-3, "this has changed"
END
