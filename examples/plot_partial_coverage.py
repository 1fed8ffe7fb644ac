"""
Actions that were never logged: FrozenLake with partial coverage
================================================================

On a slippery 8x8 lake, a mediocre logger took 10,000 steps: half of them at random,
half by a controller that prefers a random action in a third of the states. And in
half of the states one action, drawn at random, was never logged at all. What can be
learned from such a log?

We compare behaviour cloning, value iteration on the counts, value iteration with lower
confidence bounds (VI-LCB) and the Stackelberg policy. The lake is known exactly, so the
probability of reaching the goal is computed, not estimated. Each method is given the
setting of a small grid that is best on average by the true values: that favours all of
them, and cannot be done with a log alone.

The script takes less than a minute and saves ``plot_partial_coverage.png``.
"""

from functools import partial

import gymnasium as gym
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.datasets import FiniteMDP

DISCOUNT = 0.99
TIME_LIMIT = 200  # steps, as in the environment
N_LOGS, N_TRANSITIONS = 5, 10_000

# %%
# The lake and its loggers
# ------------------------
# ``FiniteMDP`` reads the lake's probabilities from the environment. In holes (H) and at
# the goal (G) no action is taken.

environment = gym.make("FrozenLake-v1", map_name="8x8", is_slippery=True)
lake = FiniteMDP.from_gymnasium(environment)
tiles = environment.unwrapped.desc.astype(str).ravel()
deciding = np.flatnonzero(np.isin(tiles, ["S", "F"]))


def make_logger(rng):
    """Probabilities (state, action) of a mediocre logger, some of them zero."""
    preferred = lake.optimal_policy(DISCOUNT)
    wrong = rng.choice(deciding, len(deciding) // 3, replace=False)
    preferred[wrong] = rng.integers(4, size=len(wrong))
    logger = 0.5 / 4 + 0.5 * np.eye(4)[preferred]
    barred = rng.choice(deciding, len(deciding) // 2, replace=False)
    logger[barred, rng.integers(4, size=len(barred))] = 0.0
    return logger / logger.sum(axis=1, keepdims=True)


def success(policy):
    """Exact probability of reaching the goal within the time limit."""
    return lake.policy_value(policy, discount=1.0, horizon=TIME_LIMIT)


# %%
# The peers
# ---------
# All three use the counts. Among actions with equal values they take the one logged
# most often.


def most_logged(equal, counts):
    """Of actions that are equally good, the one logged most often."""
    return np.where(equal, counts.visits, -1).argmax(axis=1)


def clone_mode(log, counts):
    """Behaviour cloning: the most frequent action."""
    return counts.visits.argmax(axis=1)


def clone_shares(log, counts):
    """Behaviour cloning: every action as often as it was logged."""
    shares = counts.visits + 1e-9  # uniform where nothing was logged
    return shares / shares.sum(axis=1, keepdims=True)


def value_iteration(log, counts):
    """Optimal on the counts; unlogged actions terminate with no reward."""
    q = counts.q_values(counts.optimal_policy(DISCOUNT), DISCOUNT)
    return most_logged(q >= q.max(axis=1, keepdims=True) - 1e-12, counts)


def vi_lcb(log, counts, penalty):
    """Value iteration on rewards less penalty / sqrt(visits), values at least 0."""
    seen = counts.visits > 0
    bound = counts.expected_reward - penalty / np.sqrt(np.maximum(counts.visits, 1))
    not_done = DISCOUNT * counts.transition * (1 - counts.termination)
    value = np.zeros(counts.n_states)
    for _ in range(2_000):
        q = np.where(seen, bound + not_done @ value, -np.inf)
        value = np.maximum(q.max(axis=1), 0.0)
    return most_logged(q >= q.max(axis=1, keepdims=True) - 1e-12, counts)


# %%
# Ours
# ----
# ``kernel="delta"`` distinguishes finite states exactly; every state is a landmark. The
# grid is over ``lam``, the weight of the Bellman error.


def stackelberg(log, counts, lam):
    """The Stackelberg policy, which reads the log and not the counts."""
    policy = StackelbergPolicyEstimator(
        discount=DISCOUNT, lam=lam, kernel="delta", n_components=None, random_state=0
    ).fit(log)
    return policy.predict(lake.states())


OURS = "Stackelberg policy"
methods = {
    "behaviour cloning": {"most frequent": clone_mode, "in proportion": clone_shares},
    "value iteration on counts": {"no setting": value_iteration},
    "VI-LCB": {
        f"penalty {penalty:g}": partial(vi_lcb, penalty=penalty)
        for penalty in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    },
    OURS: {
        f"lam {lam:g}": partial(stackelberg, lam=lam)
        for lam in (0.1, 1.0, 10.0, 100.0, 1000.0)
    },
}

# %%
# Five logs
# ---------
# Each has its own logger and its own random draws.

logs, policies = [], {name: {} for name in methods}
for seed in range(N_LOGS):
    rng = np.random.default_rng(seed)
    logger = make_logger(rng)
    log = lake.sample(logger, N_TRANSITIONS, rng, horizon=TIME_LIMIT)
    counts = FiniteMDP.from_counts(log, n_states=lake.n_states, n_actions=4)
    logs.append((logger, counts))
    for name, settings in methods.items():
        for setting, learn in settings.items():
            policies[name].setdefault(setting, []).append(learn(log, counts))

optimum = success(lake.optimal_policy(DISCOUNT))
best, successes = {}, {"logger": [success(logger) for logger, _ in logs]}
for name, settings in policies.items():
    found = {setting: [success(p) for p in ps] for setting, ps in settings.items()}
    best[name] = max(found, key=lambda setting, found=found: np.mean(found[setting]))
    successes[name] = found[best[name]]

print(f"Probability of reaching the goal; the optimum is {optimum:.3f}.\n")
print(f"{'':<28}{'mean':>6}   each log" + " " * (7 * N_LOGS - 8) + "  best setting")
for name, each in successes.items():
    shown = "".join(f"{value:7.3f}" for value in each)
    print(f"{name:<26}{np.mean(each):8.3f}  {shown}   {best.get(name, '')}")

# %%
# The policies on the map
# -----------------------
# The first log. A tile is cut in four, one part for each action (left, down, right or
# up), and the parts of actions that were never logged are hatched. Blue arrows are as
# good as the optimal action, orange ones are not; where no action was logged at all,
# there is no arrow.

BLUE, ORANGE, WATER = "#0072B2", "#E69F00", "0.15"
STEPS = np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])  # left, down, right, up
CORNERS = np.array([[-1, 1], [-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
side = int(np.sqrt(lake.n_states))
centres = np.column_stack([np.tile(np.arange(side), side), np.arange(side**2) // side])
centres[:, 1] = side - 1 - centres[:, 1]  # the first row of the map is on top


def parts(pairs):
    """A triangle for each (state, action)."""
    return [
        centres[state] + np.array([[0, 0], CORNERS[action], CORNERS[action + 1]])
        for state, action in pairs
    ]


def draw_map(axes, title):
    """The lake: its grid, holes, start and goal."""
    axes.set(title=title, aspect="equal", xticks=[], yticks=[])
    axes.set(xlim=(-0.5, side - 0.5), ylim=(-0.5, side - 0.5))
    for line in np.arange(side - 1) + 0.5:
        axes.axhline(line, color="0.75", lw=0.6, zorder=1)
        axes.axvline(line, color="0.75", lw=0.6, zorder=1)
    for tile, name in zip(centres, tiles, strict=True):
        middle = {"ha": "center", "va": "center", "zorder": 5}
        if name == "H":
            hole = PolyCollection([tile + CORNERS[:4]], facecolor=WATER, zorder=2)
            axes.add_collection(hole)
            axes.text(*tile, "H", color="white", **middle)
        if name in "SG":
            shift = (-0.3, 0.3) if name == "S" else (0, 0)
            box = {"boxstyle": "circle,pad=0.1", "fc": "white", "ec": "black"}
            axes.text(*(tile + shift), name, bbox=box, fontsize=8, **middle)


def draw_unlogged(axes, visits):
    """Hatch what was never logged: whole tiles, or the parts of single actions."""
    empty = [s for s in deciding if not visits[s].any()]
    pairs = [(s, a) for s, a in np.argwhere(visits == 0) if s in deciding]
    pieces = parts(pair for pair in pairs if pair[0] not in empty)
    pieces += [centres[s] + CORNERS[:4] for s in empty]
    unlogged = PolyCollection(
        pieces, facecolor="0.85", edgecolor="0.45", hatch="/////", lw=0.3
    )
    axes.add_collection(unlogged)


def draw_policy(axes, actions, visits):
    """Draw an arrow for each action, blue where it is as good as the optimal one."""
    q = lake.q_values(lake.optimal_policy(DISCOUNT), DISCOUNT)
    regret = q.max(axis=1) - q[np.arange(len(q)), actions]
    for colour, chosen in ((BLUE, regret < 1e-9), (ORANGE, regret >= 1e-9)):
        chosen = np.flatnonzero(chosen & visits.any(axis=1))
        chosen = np.intersect1d(chosen, deciding)
        axes.quiver(
            *centres[chosen].T,
            *STEPS[actions[chosen]].T,
            color=colour,
            pivot="middle",
            angles="xy",
            scale_units="xy",
            scale=1.5,
            width=0.014,
            headwidth=4,
            headlength=4,
            headaxislength=4,
            zorder=4,
        )


figure = Figure(figsize=(13.5, 9.4), layout="constrained")
(log_axes, *top), (success_axes, *bottom) = figure.subplots(
    2, 3, gridspec_kw={"width_ratios": [1.17, 1, 1]}
)
logger, counts = logs[0]

draw_map(log_axes, f"the first log\n{N_TRANSITIONS:,} steps")
logged = [(s, a) for s, a in np.argwhere(counts.visits > 0) if s in deciding]
numbers = [counts.visits[pair] for pair in logged]
shading = PolyCollection(
    parts(logged), array=numbers, cmap="cividis", norm=LogNorm(), edgecolor="white"
)
shading.set_linewidth(0.3)
log_axes.add_collection(shading)
draw_unlogged(log_axes, counts.visits)
figure.colorbar(shading, ax=log_axes, shrink=0.8, label="times an action was logged")

for axes, name in zip([*top, *bottom], methods, strict=True):
    actions = policies[name][best[name]][0]
    if actions.ndim == 2:
        actions = actions.argmax(axis=1)
    draw_map(axes, f"{name}\nreaches the goal: {successes[name][0]:.0%}")
    draw_unlogged(axes, counts.visits)
    draw_policy(axes, actions, counts.visits)

for row, (name, each) in enumerate(successes.items()):
    colour = BLUE if name == OURS else "0.55"
    success_axes.barh(row, np.mean(each), color=colour, height=0.6, alpha=0.6)
    success_axes.plot(each, np.full(N_LOGS, row), "o", color="black", markersize=4)
    label = f"{name}\n{best[name]}" if name in best else name
    success_axes.text(0.01, row - 0.42, label.replace("\n", ", "), va="bottom")
success_axes.axvline(optimum, color="black", ls="--", lw=1)
success_axes.text(optimum - 0.01, -0.72, "optimum", ha="right", va="center")
success_axes.set(
    title=f"mean of {N_LOGS} logs; a dot is a log",
    xlabel="probability of reaching the goal",
    xlim=(0, 1),
    ylim=(len(successes) - 0.5, -1),
    yticks=[],
)

figure.legend(
    handles=[
        Line2D([], [], color=BLUE, marker=">", lw=2, label="as good as the optimum"),
        Line2D([], [], color=ORANGE, marker=">", lw=2, label="worse action"),
        Patch(facecolor="0.85", edgecolor="0.45", hatch="/////", label="never logged"),
        Patch(facecolor=WATER, label="hole"),
    ],
    loc="outside lower center",
    ncols=4,
)
figure.savefig("plot_partial_coverage.png", dpi=120)
print("\nSaved plot_partial_coverage.png")
