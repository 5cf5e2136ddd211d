# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # What do residual connections really do? A lesson of ten minutes
#
# Everything here comes from records that lie in this repository: nothing is trained. Open the file as a notebook
# (jupytext, VS Code, PyCharm and Spyder read it as it is), run a cell, and answer its question before you read on.

# %%
import pandas as pd

import resnet_repro as rr


def verdict(experiment: str, claim: str) -> str:
    """What was claimed before the runs, and what they said."""
    v = rr.results(experiment, committed=True).verdicts.loc[claim]
    return f"{v.verdict}: {v.says} {v.estimate:+.2f} [{v.low:+.2f}, {v.high:+.2f}], n = {v.n}"


def errors(experiment: str, metric: str, by: list[str]) -> pd.DataFrame:
    """The median over seeds, in percent."""
    runs = rr.results(experiment, committed=True).runs
    return runs.astype({metric: float}).groupby(by, sort=False)[metric].median().unstack().round(1)


# %% [markdown]
# ## 1. What happens
# Plain and residual networks of 20, 32 and 56 layers, the same in all but their shortcuts. A deeper network can
# compute all that a shallower one can. Which of the two should have the lower *training* error?

# %%
rr.figure("degradation-digits", "curves", committed=True)

# %%
errors("degradation-digits", "train_error_clean", ["model", "depth"])

# %%
print(verdict("degradation-digits", "plain-56-above-20"))
print(verdict("degradation-digits", "resnet-56-below-plain-56"))

# %% [markdown]
# ## 2. It is not overfitting
# What would the training error of an overfitted network be? Compare it with the test error.

# %%
errors("degradation-digits", "test_error", ["model", "depth"])

# %% [markdown]
# ## 3. It is not the learning rate, and not too few steps
# How would you show that a network merely had the wrong rate? Find the best rate of each depth.

# %%
errors("rate-digits", "train_error_clean", ["depth", "lr"])

# %%
print(verdict("rate-digits", "plain-56-above-20-at-the-best-rates"))
print(verdict("steps-digits", "plain-56-above-20-after-1600"))

# %% [markdown]
# ## 4. It is not the vanishing gradient that one expects
# With batch norm, before the first step: does the gradient shrink or grow on its way from the output to the input?

# %%
rr.figure("gradients-digits", "gradients", committed=True)

# %%
print(verdict("gradients-digits", "plain-gradient-is-even"))
print(verdict("gradients-digits", "without-norm-it-vanishes"))

# %% [markdown]
# What depth does take away is the gradient's structure. Walk along a line between two images: how soon is the
# gradient another one?

# %%
rr.figure("shattered-gradients-digits", "with-norm", committed=True)

# %%
print(verdict("shattered-gradients-digits", "plain-56-is-shattered"))
print(verdict("shattered-gradients-digits", "resnet-56-above-plain-56"))

# %% [markdown]
# ## 5. The solution is there, and it is not found
# A 56-layer plain net can start as a 20-layer one, its further layers as identities. Where will it end: with the 20
# layers, or with the 56?

# %%
print(verdict("identity-digits", "plain-start-as-20-equals-20"))
print(verdict("identity-digits", "plain-usual-start-above-20"))

# %% [markdown]
# ## 6. What helps
# The shortcut, and that it is the identity: y = F(x) + λx. Guess the curve before you look.

# %%
rr.figure("shortcut-scale-digits", "scale", committed=True)

# %%
print(verdict("shortcut-scale-digits", "scale-0.5-above-1"))
print(verdict("shortcut-scale-digits", "scale-1.1-above-1"))

# %% [markdown]
# And small branches: without any normalisation a 56-layer ResNet trains if its branches are scaled by 27^-1/2, or by
# a learned number that starts at 0.

# %%
print(verdict("without-norm-digits", "unscaled-branches-fail"))
print(verdict("without-norm-digits", "scaled-branches-do-not-fail"))
print(verdict("batchnorm-digits", "resnet-56-without-norm-below-plain-56-with-it"))

# %% [markdown]
# ## Your turn
# Which claim would you have bet on and lost? Write it, with the region in which it would be true, into a file of
# `experiments/` ([how](ask.md)), commit, and sweep it. `make sweep` does all of section 1 on this machine in some
# minutes.
