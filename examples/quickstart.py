"""
From a log to a policy: CartPole
================================

A pole stands on a cart. A controller, 60 % of whose pushes are random, moved the cart
left or right 5,000 times, and each push was logged. From these rows alone, without a
simulator, we learn when to push in which direction. Only at the end do we run the
learned policy in the environment, to measure its return.

The script takes some seconds, prints what it finds and saves ``quickstart.png``.
"""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.datasets import log_episodes, rollout_returns

# %%
# 1. The log
# ----------
# The reference controller pushes to the side that the pole falls to. Of a state it
# uses the pole's angle (rad) and angular velocity (rad/s); 0 is left and 1 is right.
# The logger does the same, but 60 % of its pushes are drawn at random.


def controller(state, rng):
    """Push towards the side that the pole is falling to."""
    return int(state[2] + 0.2 * state[3] > 0)


def noisy_controller(state, rng):
    """The same, with 60 % of the pushes at random."""
    return int(rng.integers(2)) if rng.random() < 0.6 else controller(state, rng)


log = log_episodes("CartPole-v1", noisy_controller, n_transitions=5_000, random_state=0)

# %%
# ``log`` is a ``Transitions``: rows of state, action, reward and next state, and where
# each episode ended. ``Transitions.from_frame`` makes one from a table of your own.
# The reward is 1 for each step that the pole stands, at most 500 to an episode.

print("The log\n-------")
print(log.describe())

# %%
# 2. Fit
# ------
# Default settings: ``discount`` sets the horizon, ``lam`` the weight of agreement with
# the log. ``fit`` is given the log alone, and no environment.

policy = StackelbergPolicyEstimator(random_state=0).fit(log)

# %%
# 3. Predict
# ----------
# A policy predicts an action for each state, and the probability of each action.

state_names = ["position", "velocity", "angle", "angular velocity"]
falling = np.array([[0.0, 0.0, -0.1, -0.5], [0.0, 0.0, 0.1, 0.5]])
print("\nThe policy\n----------")
for state, action in zip(falling, policy.predict(falling), strict=True):
    shown = ", ".join(f"{n} {x:g}" for n, x in zip(state_names, state, strict=True))
    print(f"{shown}: push {['left', 'right'][action]}")

# %%
# 4. The value by the log
# -----------------------
# ``policy_value_`` is the value of the policy by a pessimistic Q-function: of those
# that agree with the log, the one with the lowest value. By default it is the mean over
# all logged states, so we compare it with the logger's own return from those states on.
# It ranks policies, and is no guarantee: a policy selected as the best of many is
# likely to be overestimated, so that the value can be too high even so (docs/game.md).


def discounted_returns(log, discount):
    """Discounted sum of the rewards from each row to the end of its episode."""
    returns = np.zeros(len(log))
    following = 0.0
    for row in reversed(range(len(log))):
        ends = row + 1 == len(log) or log.is_initial[row + 1]
        following = log.reward[row] + discount * (0.0 if ends else following)
        returns[row] = following
    return returns


logged_value = discounted_returns(log, policy.discount).mean()
print(f"\nValue, discount {policy.discount:g}\n--------------------")
print(f"logger, as logged:     {logged_value:6.1f}")
print(f"learned, pessimistic:  {policy.policy_value_:6.1f}")
print(f"a pole that stands:    {1 / (1 - policy.discount):6.1f}")

# %%
# 5. The truth
# ------------
# This step is an evaluation and no part of the method: 100 episodes in the environment,
# with the same starts for all three.

print("\nReturn, mean and standard deviation of 100 episodes (500 at most)")
print("------------------------------------------------------------------")
for name, actor in {
    "logger (60 % random)": noisy_controller,
    "learned from its log": policy,
    "reference (no noise)": controller,
}.items():
    returns = rollout_returns("CartPole-v1", actor, n_episodes=100, random_state=1)
    print(f"{name}:  {returns.mean():5.1f} ± {returns.std():5.1f}")

# %%
# 6. A picture
# ------------
# Left, the pessimistic value during the fit. Middle, the logged actions. Right, the
# learned policy, for a cart at rest in the centre.

LEFT, RIGHT = "#E69F00", "#0072B2"

figure = Figure(figsize=(13, 4), layout="constrained")
value_axes, log_axes, policy_axes = figure.subplots(1, 3)

values = policy.history_["value"]
best_so_far = np.maximum.accumulate(values)
value_axes.plot(values, ".", color="0.6", markersize=5, label="each policy tried")
value_axes.plot(best_so_far, color="black", label="best so far")
value_axes.axhline(logged_value, color="#D55E00", ls="--", label="logger, as logged")
value_axes.set(
    title="Learning: the pessimistic value",
    xlabel="evaluation",
    ylabel="discounted return (reward 1 a step)",
)
value_axes.legend(loc="center right", bbox_to_anchor=(1.0, 0.58))

angle, speed = np.degrees(log.state[:, 2:]).T
colours = np.array([LEFT, RIGHT])[log.action]
log_axes.scatter(angle, speed, 5, colours, alpha=0.7, lw=0)
for name, colour in (("pushed left", LEFT), ("pushed right", RIGHT)):
    log_axes.plot([], [], "o", color=colour, label=name)
log_axes.set_title("The log: actions taken")
log_axes.legend(loc="upper left")

grid_angle, grid_speed = np.meshgrid(np.linspace(-12, 12, 121), np.linspace(-125, 125))
still = np.zeros(grid_angle.size)
states = np.column_stack(
    [still, still, np.radians(grid_angle.ravel()), np.radians(grid_speed.ravel())]
)
pushed = policy.predict(states).reshape(grid_angle.shape)
policy_axes.pcolormesh(
    grid_angle, grid_speed, pushed, cmap=ListedColormap([LEFT, RIGHT]), alpha=0.7
)
for name, colour in (("push left", LEFT), ("push right", RIGHT)):
    policy_axes.plot([], [], "s", color=colour, label=name)
policy_axes.axline(
    (0, 0), slope=-5, color="black", ls="--", label="reference controller"
)
policy_axes.set_title("The policy: cart at rest in the centre")
policy_axes.legend(loc="upper left")
for axes in (log_axes, policy_axes):
    axes.set(
        xlabel="pole angle (degrees)",
        ylabel="angular velocity (degrees/s)",
        xlim=(-12, 12),
        ylim=(-125, 125),
    )

figure.savefig("quickstart.png", dpi=120)
print("\nSaved quickstart.png")
