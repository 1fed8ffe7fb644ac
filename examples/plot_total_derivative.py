"""
What the total derivative buys, and where it buys nothing
=========================================================

The policy leads and the Q-function follows: whatever the policy does, the follower
answers with the Q-function that makes it look worst. The *total* derivative of the
leader's value knows of that answer. The *individual* derivative holds the Q-function
fixed while the policy takes its step, as actor-critic methods do; it is had with
``ClosedForm(leader_gradient="individual")``.

We climb along each on a slippery 4x4 lake, whose every policy has an exact value, from
ten logs, and ask after so many steps: what is the policy worth, by the follower and in
truth? And is it an equilibrium, is the total derivative zero there?

The script takes about a minute and saves ``plot_total_derivative.png``.
"""

import warnings

import gymnasium as gym
import numpy as np
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning

from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.datasets import FiniteMDP
from sklearn_stackelberg.solvers import ClosedForm

DISCOUNT = 0.95
N_LOGS, N_TRANSITIONS = 10, 2_000
STEPS = [0, 1, 2, 4, 8, 16, 32, 64]

# %%
# The lake and its logs
# ---------------------
# The logger takes the best action half of the time and any action otherwise.

lake = FiniteMDP.from_gymnasium(
    gym.make("FrozenLake-v1", map_name="4x4", is_slippery=True)
)
optimal = np.eye(4)[lake.optimal_policy(DISCOUNT)]
logger = 0.5 * optimal + 0.5 / 4
logs = [
    lake.sample(logger, N_TRANSITIONS, np.random.default_rng(seed), horizon=100)
    for seed in range(N_LOGS)
]

# %%
# Three climbs
# ------------
# ``mirror_steps=0`` leaves the derivative alone to climb. Where the value is counted
# from matters: from the first state of each episode, as in the paper, or from every
# logged state. The third climb begins with the mirror steps that every fit takes
# unless told otherwise.

climbs = {
    "from first states": ("first", 0),
    "from all logged states": ("all", 0),
    "first, after mirror steps": ("first", 40),
}
derivatives = ("total", "individual")


def climb(log, steps, derivative, initial_states, mirror_steps):
    """True value, the follower's value, and |D v| after so many steps."""
    policy = StackelbergPolicyEstimator(
        discount=DISCOUNT,
        kernel="delta",
        n_components=None,
        initial_states=initial_states,
        solver=ClosedForm(
            leader_gradient=derivative,
            mirror_steps=mirror_steps,
            max_iter=steps,
            tol=1e-6,
        ),
        random_state=0,
    )
    with warnings.catch_warnings():  # that it was still climbing is what we look at
        warnings.simplefilter("ignore", ConvergenceWarning)
        policy.fit(log)
    true_value = lake.policy_value(policy.predict_proba(lake.states()), DISCOUNT)
    residual = policy.equilibrium_.leader_gradient_norm
    return true_value, policy.policy_value_, residual


# %%
# A climb of more steps repeats the shorter one, so a fit for each number of steps shows
# the way. |D v| is the total derivative for both: the individual one can be zero where
# the leader could still gain.

found = {
    (name, derivative): np.array(
        [[climb(log, steps, derivative, *setting) for steps in STEPS] for log in logs]
    )  # (log, steps, three figures)
    for name, setting in climbs.items()
    for derivative in derivatives
}

optimum, logged = (lake.policy_value(policy, DISCOUNT) for policy in (optimal, logger))
print(f"Discounted chance of reaching the goal: optimum {optimum:.3f}, ", end="")
print(f"logger {logged:.3f}.\nMean of {N_LOGS} logs after {STEPS[-1]} steps:\n")
print(f"{'':<38}{'truth':>15}{'follower':>11}{'median |D v|':>14}")
for (name, derivative), figures in found.items():
    truth, value, residual = figures[:, -1].T
    error = truth.std(ddof=1) / np.sqrt(N_LOGS)
    print(
        f"{name:<27}{derivative:<11}{truth.mean():7.3f} ± {error:.3f}",
        f"{value.mean():10.3f}{np.median(residual):14.1e}",
    )

# %%
# What to see
# -----------
# With the value counted from first states, all the individual derivative sees is the
# first decision, for with Q held fixed nothing else is in the value: it never learns
# how to go on. The total derivative does, by the follower's answer.
#
# With the value counted from every logged state, each state is an initial one and a
# step at fixed Q improves the policy in all of them: the individual derivative gets as
# far. After mirror steps, which are of that kind, there is little left to climb for
# either, on most logs nothing. In both, the individual derivative often comes to rest
# where |D v| is not zero, so at no equilibrium: the leader could still gain, but as a
# rule next to nothing, in the follower's eyes and in truth. So on this lake the total
# derivative buys the climb from first states, and an equilibrium; after mirror steps,
# hardly a better policy. Ten logs of one small lake say nothing of other problems.

BLUE, ORANGE = "#0072B2", "#E69F00"
styles = {"total": (BLUE, "o", "-"), "individual": (ORANGE, "s", "--")}

figure = Figure(figsize=(11, 6), layout="constrained")
panels = figure.subplots(2, len(climbs), sharex=True, sharey="row")
for column, name in enumerate(climbs):
    value_axes, residual_axes = panels[:, column]
    for derivative, (colour, marker, line) in styles.items():
        truth, _, residual = np.moveaxis(found[name, derivative], 2, 0)
        residual = np.maximum(residual, 1e-12)
        for axes, each, middle in (
            (value_axes, truth, truth.mean(axis=0)),
            (residual_axes, residual, np.median(residual, axis=0)),
        ):
            axes.plot(STEPS, each.T, color=colour, lw=0.7, alpha=0.4)
            axes.plot(
                STEPS,
                middle,
                color=colour,
                marker=marker,
                ls=line,
                lw=2.5,
                label=f"{derivative} derivative",
            )
    value_axes.axhline(optimum, color="black", lw=1, ls=":")
    value_axes.axhline(logged, color="black", lw=1, ls=":")
    value_axes.set_title(name)
    residual_axes.set(xlabel="steps along the derivative", yscale="log")
    residual_axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    residual_axes.set_xticks(STEPS, STEPS)
    residual_axes.set_xticks([], minor=True)
panels[0, 0].set(ylabel="true value (mean)", ylim=(0, 0.2))
panels[0, 0].text(64, optimum, "optimum", ha="right", va="bottom")
panels[0, 0].text(64, logged, "logger", ha="right", va="bottom")
panels[1, 0].set(ylabel="|D v|, total (median)")
figure.legend(
    *panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2
)
figure.savefig("plot_total_derivative.png", dpi=120)
print("\nSaved plot_total_derivative.png")
