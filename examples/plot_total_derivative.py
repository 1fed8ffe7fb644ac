"""
When the total derivative helps, and when it does not
=====================================================

The policy is the leader and the Q-function the follower: the follower's best response
to a policy is the Q-function that gives it the lowest value among those that agree with
the log. The *total* derivative of the leader's value takes the change of the best
response into account. The *individual* derivative holds the Q-function fixed while the
policy takes its step, as actor-critic methods do; it is set by
``ClosedForm(leader_gradient="individual")``.

We maximise the value along each on a slippery 4x4 lake, where the value of every policy
is computed exactly, from ten logs, and measure after a number of steps: what is the
value of the policy, by the follower and in truth? And is it an equilibrium, that is, is
the total derivative zero?

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
# The logger takes the optimal action half of the time and a random action otherwise.

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
# Three settings
# --------------
# ``mirror_steps=0`` leaves the steps along the derivative alone. The states over which
# the value is averaged matter: the first state of each episode, as in the paper, or
# every logged state. The third setting begins with the mirror steps that every fit
# takes by default.

settings = {
    "from first states": ("first", 0),
    "from all logged states": ("all", 0),
    "first, after mirror steps": ("first", 40),
}
derivatives = ("total", "individual")


def fit_and_measure(log, steps, derivative, initial_states, mirror_steps):
    """True value, the follower's value, and |D v| after so many steps."""
    policy = StackelbergPolicyEstimator(
        discount=DISCOUNT,
        kernel="delta",
        n_components=None,
        # The value of the probabilities is what the derivatives are of.
        deterministic=False,
        initial_states=initial_states,
        solver=ClosedForm(
            leader_gradient=derivative,
            mirror_steps=mirror_steps,
            max_iter=steps,
            tol=1e-6,
        ),
        random_state=0,
    )
    with warnings.catch_warnings():  # we look at fits that have not converged
        warnings.simplefilter("ignore", ConvergenceWarning)
        policy.fit(log)
    true_value = lake.policy_value(policy.predict_proba(lake.states()), DISCOUNT)
    residual = policy.equilibrium_.leader_gradient_norm
    return true_value, policy.policy_value_, residual


# %%
# A fit of more steps repeats the shorter one, so that a fit for each number of steps
# shows the path. |D v| is the norm of the total derivative for both: the individual one
# can be zero where the leader's value can still be increased.

found = {
    (name, derivative): np.array(
        [
            [fit_and_measure(log, steps, derivative, *setting) for steps in STEPS]
            for log in logs
        ]
    )  # (log, steps, three figures)
    for name, setting in settings.items()
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
# Results
# -------
# With the value averaged over first states, the individual derivative depends on the
# first decision alone, since with Q held fixed the value contains no other: it never
# learns the later decisions. The total derivative does, through the best response.
#
# With the value averaged over every logged state, each state is an initial one and a
# step at fixed Q improves the policy in all of them: the individual derivative reaches
# the same value. After mirror steps, which are of that kind, there is hardly anything
# left to gain for either. In both, the policy is decided in nearly every state, so that
# both derivatives all but vanish: that |D v| is small says little there. So on this
# lake the total derivative makes the optimisation from first states possible; after
# mirror steps, it does not improve the policy. Ten logs of one small lake do not show
# what happens on other problems.

BLUE, ORANGE = "#0072B2", "#E69F00"
styles = {"total": (BLUE, "o", "-"), "individual": (ORANGE, "s", "--")}

figure = Figure(figsize=(11, 6), layout="constrained")
panels = figure.subplots(2, len(settings), sharex=True, sharey="row")
for column, name in enumerate(settings):
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
