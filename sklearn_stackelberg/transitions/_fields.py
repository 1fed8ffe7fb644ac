"""The fields of a log: checked, or read from the columns of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ._actions import read_mask_columns
from ._chains import chain_rows
from ._checks import (
    check_actions,
    check_durations,
    check_episodes,
    check_flags,
    check_propensities,
    check_reals,
    check_same_length,
    check_steps,
    check_weights,
    numbers_or_nan,
)
from ._columns import Column
from ._decision_table import read_fields
from ._linking import link
from ._tables import FIELDS, AnyArray, Index, States, column_names, is_frame
from ._usage import Lost, lost_of, sketch_of

# How each field is checked, in the order in which they are named in messages.
_CHECKS: dict[str, Callable[[Any, str], AnyArray]] = {
    "reward": check_reals,
    "terminated": check_flags,
    "is_initial": check_flags,
    "episode": check_episodes,
    "step": check_steps,
    "propensity": check_propensities,
    "duration": check_durations,
    "weight": check_weights,
}

# What a class has as None stands on an instance only where there is any.
_NONE_ON_CLASS = ("duration", "weight")


def checked_fields(
    states: tuple[States, States], action: object, *given: object
) -> dict[str, Any]:
    """The fields of a log from what a user gave, of equal length and known firsts."""
    n, wide = len(states[0]), action
    action = check_actions(wide)
    fields: dict[str, Any] = dict(
        zip(("state", "next_state"), states, strict=True), action=action
    )
    if is_frame(wide) and action.ndim == 2:
        fields["action_names"] = tuple(column_names(wide))
    for (name, check), values in zip(_CHECKS.items(), given, strict=True):
        if values is not None:
            fields[name] = check(values, name)
        elif name == "terminated":
            fields[name] = np.zeros(n, dtype=bool)
        elif name not in _NONE_ON_CLASS:
            fields[name] = None
    # After the checks of each field, whose messages say more than a wrong length.
    arrays = {name: fields.get(name) for name in FIELDS}
    check_same_length({k: len(v) for k, v in arrays.items() if v is not None})
    episode, step = fields["episode"], fields["step"]
    if step is not None and episode is None:
        raise ValueError(
            "step was given without episode; a step is a position within an "
            "episode: pass episode= as well (all zeros for a single episode)."
        )
    first = np.zeros(n, dtype=bool)
    if episode is not None and step is not None:
        # Linked whether or not it is needed: it refuses steps that repeat.
        first = link(episode, step).first
    elif episode is not None:
        # Rows in order, for want of steps: the first of each run of a name.
        first[0] = True
        first[1:] = episode[1:] != episode[:-1]
    # What is given goes before what can be derived: a fold may start inside.
    if fields["is_initial"] is None:
        fields["is_initial"] = first
    return fields


class TableFields(NamedTuple):
    """What a table holds beside the states, and what of it is left out."""

    fields: dict[str, Any]
    rows: tuple[Index, Index]  # of each transition's state and next state, (m,) each
    counts: tuple[dict[str, int], int]  # left out, by reason; without an action
    lost: tuple[Lost, frozenset[int]] | None  # what rows left out held, and which
    single_steps: bool  # whether nothing says which rows follow one another


def fields_of_table(columns: dict[str, Column]) -> TableFields:
    """Link the rows of a table and read its columns, which are let go of."""
    chain = chain_rows(columns)
    rows, next_rows = chain.rows, chain.next_rows
    fields = read_fields(columns, chain)
    fields |= read_mask_columns(columns, fields, rows, next_rows)
    # Of those that are censored it was said that they are lost.
    unused = chain.acted & ~chain.censored
    if "episode" not in columns:
        # No decision, and no state that a decision led to.
        unused |= ~chain.acted
    unused[rows] = False
    left, lost = np.flatnonzero(unused), None
    if left.size:
        reward = columns["reward"].read(numbers_or_nan, left)
        sketch = sketch_of(chain.label[left], chain.step[left], reward)
        lost = lost_of(reward, chain.too_many_gaps), sketch
    single_steps = not {"episode", "terminated"} & {*columns}
    # Of millions of rows each is as large as a column of the log.
    columns.clear()
    counts = chain.left_out, chain.n_without_action
    return TableFields(fields, (rows, next_rows), counts, lost, single_steps)
