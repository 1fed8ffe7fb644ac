"""What the stages of a wide table have: columns, and actions that can be taken."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from ._checks import check_propensities
from ._tables import AnyArray, Index, Names, listed

# What a stage may say of itself.
KEYS = ("state", "action", "reward", "propensity", "available")


class Stage(NamedTuple):
    """One stage of a wide table: names of its columns."""

    state: dict[Hashable, Hashable]  # names of state columns to those of the table
    action: list[Hashable]
    reward: Hashable | None
    propensity: Hashable | float | None
    available: list[Any] | None  # the actions that could be taken

    def columns(self) -> list[Hashable]:
        """The columns of the table that it names."""
        names = [*self.state.values(), *self.action]
        names += [] if self.reward is None else [self.reward]
        given = self.propensity
        return names + ([] if given is None or isinstance(given, float) else [given])


def read_stages(stages: Sequence[Mapping[str, Any]]) -> list[Stage]:
    if isinstance(stages, (str, Mapping)) or not len(stages):
        raise ValueError(
            "stages must be a list with a dict for each stage, in the order of time, "
            f"such as [{{'state': ['x1'], 'action': 'a1'}}]; got {stages!r:.80}."
        )
    return [_read_stage(k, given) for k, given in enumerate(stages, 1)]


def _read_stage(k: int, given: object) -> Stage:
    if not isinstance(given, Mapping) or "action" not in given:
        raise ValueError(
            f"Stage {k} must be a dict with the column of its 'action' and, if any, "
            f"{', '.join(map(repr, [KEYS[0], *KEYS[2:]]))}; got {given!r:.80}."
        )
    if unknown := [key for key in given if key not in KEYS]:
        raise ValueError(
            f"Stage {k} says {', '.join(map(repr, unknown))}, which is nothing that a "
            f"stage has; it may say {', '.join(map(repr, KEYS))}."
        )
    propensity, available = given.get("propensity"), given.get("available")
    if isinstance(propensity, (int, float)) and not isinstance(propensity, bool):
        propensity = float(
            check_propensities([propensity], name_of(k, "propensity"))[0]
        )
    if isinstance(available, str):
        raise ValueError(
            f"'available' of stage {k} must list the actions that can be taken there; "
            f"got {available!r}."
        )
    return Stage(
        state=state_names(given.get("state", [])),
        action=listed(given["action"]),
        reward=given.get("reward"),
        propensity=propensity,
        available=None if available is None else [*available],
    )


def state_names(given: Names | Mapping[Hashable, Hashable]) -> dict[Hashable, Any]:
    if isinstance(given, Mapping):
        return {**given}
    return {name: name for name in listed(given)}


def refuse_unknown_future(
    plan: list[Stage], baseline: dict[Hashable, Hashable], reward: Hashable | None
) -> None:
    """Refuse states that are not known before their stage's action."""
    known = [{*baseline.values()}]
    for k, one in enumerate(plan, 1):
        known.append(known[0] | {*one.state.values()})
        outcomes = [*one.action, *([] if one.reward is None else [one.reward])]
        for early, columns in enumerate(known[1:], 1):
            leaks = [name for name in outcomes if name in columns]
            if leaks:
                raise ValueError(
                    f"Column {leaks[0]!r} is the action or the reward of stage {k} and "
                    f"part of the state of stage {early}, where it is not known before "
                    "the policy acts: leave it out of that state."
                )
    if reward is not None and any(reward in columns for columns in known):
        raise ValueError(
            f"Column {reward!r} is the reward at the end and part of a state, where it "
            "is not known yet: leave it out of that state."
        )


def name_of(k: int, role: str, column: object = None) -> str:
    return f"{role} of stage {k}" + (f" (column {column!r})" * (column is not None))


def allowed_actions(
    plan: list[Stage], action: AnyArray, number: Index, stage: Hashable | None
) -> dict[int, set[Any]] | None:
    """The logged actions that stages list as available, by stage; None if none do."""
    lists = [one.available for one in plan]
    if without := [k for k, one in enumerate(lists, 1) if one is None]:
        if len(without) < len(plan):
            raise ValueError(
                f"Stages {without} have no 'available' and others do; list the actions "
                "of all of them or of none."
            )
        return None
    if stage is None:
        raise ValueError(
            "'available' of the stages was given with stage=None: which actions can be "
            "taken is read from the column that says the stage. Name it, or leave "
            "'available' out."
        )
    if action.ndim == 2:
        raise ValueError(
            "'available' lists discrete actions, and those of the stages are several "
            "numbers each: leave it out."
        )
    allowed: dict[int, set[Any]] = {}
    logged = {*action.tolist()}
    for k, given in enumerate(lists, 1):
        done = {*action[number == k - 1].tolist()}
        if missing := sorted(done - {*(given or ())}):
            raise ValueError(
                f"'available' of stage {k} lists {given}, and {missing[:5]} was done "
                "there too: add it, or correct the column of actions."
            )
        # What was never done at any stage is nothing that a policy could choose.
        if chosen := {*(given or ())} & logged:
            allowed[k] = chosen
    return None if all(some == logged for some in allowed.values()) else allowed
