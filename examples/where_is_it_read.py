# %% [markdown]
# # Where is it read?
#
# A language model is asked for `7 * 8` in four wordings. In which layers does the logit lens read that *multiplication*
# is asked for, before anything is trained, and after one cell of the study has trained the token ` multiply` into one
# layer? This takes about two minutes on two cores. It shows how the study is used; one seed and a dozen prompts are no
# result, which [the report](../reports/architecture_comparison.md) is for.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import study

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "configs").is_dir())
os.chdir(root)
config = os.environ.get("EXAMPLE_STUDY", "configs/one_cell.yaml")
results = os.environ.get("EXAMPLE_RESULTS", "results/one_cell")

plan = study.read(config)
(cell,) = plan.cells()
cell.label

# %% [markdown]
# ## The lens of an untrained model
#
# `study.load` takes a short name of `configs/models.yaml`, a folder, a GGUF file or a hub id. A lens holds the hidden
# state of every layer at every position, and reads it with the model's own final norm and head.

# %%
model = study.load(plan.study.models[0])
wordings = {
    "symbolic": "7 * 8 =",
    "semantic": "seven times eight =",
    "construction": "the product of seven and eight is",
    "story": "Sam has 7 bags with 8 apples in each. In all he has",
}
lenses = {tier: model.lens(text) for tier, text in wordings.items()}
lenses["semantic"].top(3).tail(9)

# %% [markdown]
# Each cell of this picture is the likeliest next token at a layer (from the bottom up) and a position, coloured by its
# probability.

# %%
lenses["construction"].plot()
plt.show()

# %% [markdown]
# The study reads at the last token of a prompt. There, the probability of ` multiply` by depth:

# %%
depth = (np.arange(model.layers) + 1) / model.layers
_, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
for tier, lens in lenses.items():
    ax.semilogy(depth, np.exp(lens.log_prob(" multiply")[:, -1]), marker=".", label=f"{tier}: {lens.text[-24:]}")
ax.set(xlabel="relative depth", ylabel="p( multiply)", title="before any training")
ax.legend(fontsize=7)
plt.show()

# %% [markdown]
# ## One cell
#
# The cell trains ` multiply` and ` add` at one layer on the symbolic wording alone, with half of the loss on the
# answers. `study.run` first runs what it builds on (stage 1, LoRA on answers), in this process and without Ray; run
# again, it finds what is there. The reference reads the same prompts before and after stage 1.

# %%
study.run(cell, results)
study.run(plan.reference(cell), results)
tables = study.rows(results, cell)
before = study.rows(results, plan.reference(cell))
{name: len(rows) for name, rows in tables.items()}

# %% [markdown]
# ## Its depth profile
#
# The probability of the right class token (geometric mean over held-out operands), before and after:

# %%
stages = {"baseline": before["lens"], "stage1": before["lens"], "stage2": tables["lens"]}
tiers = list(dict.fromkeys(tables["lens"]["tier"]))
_, axes = plt.subplots(1, len(tiers), figsize=(2.6 * len(tiers), 2.8), sharey=True, layout="constrained")
for ax, tier in zip(axes, tiers, strict=True):
    for stage, rows in stages.items():
        here = rows[(rows["stage"] == stage) & (rows["tier"] == tier)]
        profile = np.exp(here.groupby("layer")["log_p"].mean())
        ax.semilogy((profile.index + 1) / model.layers, profile, label=stage)
    ax.axvline((cell.layer + 1) / model.layers, color="0.6", lw=4, alpha=0.4)
    ax.set(title=tier, xlabel="relative depth")
axes[0].set_ylabel("p of the right class token")
axes[0].legend(fontsize=7)
plt.show()

# %% [markdown]
# At the trained layer: how often the right class token outranks the other one (chance is 50 %), and whether the answers
# are still right. Only the symbolic wording was trained.

# %%
read = tables["lens"][tables["lens"]["layer"] == cell.layer].groupby("tier", sort=False)["choice"].agg(["mean", "size"])
answers = {stage: rows["answers"].query("stage == @stage") for stage, rows in (("stage1", before), ("stage2", tables))}
for stage, rows in answers.items():
    read[f"right after {stage}"] = rows.groupby("tier", sort=False)["right"].mean()
read.rename(columns={"mean": "choice accuracy", "size": "prompts"}).round(2)
