"""Draw `_static/which_setting.svg`, the picture of which_setting.md.

`python docs/_chooser.py` writes it again. All settings are of the page's tables, which
`tests/test_docs.py` checks.
"""

from __future__ import annotations

from pathlib import Path

PICTURE = Path(__file__).parent / "_static" / "which_setting.svg"

NOTHING = "nothing to set"

# A question, and for each answer what to set: words of the tables.
QUESTIONS: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "1. What is an action?",
        [
            ("a label: a drug, an offer", NOTHING),
            ("an amount: a dose, a price", 'action_type="continuous"'),
            ("impossible in some states", "available="),
        ],
    ),
    (
        "2. What follows a decision?",
        [
            ("nothing", "discount=0"),
            ("a few visits, the sum counts", "discount=1.0"),
            ("visits at any time", 'step_unit="1D"'),
            ("one long trajectory", "BlockKFold"),
        ],
    ),
    (
        "3. What are the states?",
        [
            ("few, each logged often", NOTHING),
            ("many columns, or noise", NOTHING),
            ("text, missing values", "a transformer in the pipeline"),
            ("seen in part", "HistoryStates(k)"),
        ],
    ),
    (
        "4. What are the rewards?",
        [
            ("of any unit", NOTHING),
            ("costs", "a minus sign"),
            ("rare: clicks, deaths", "score for a search"),
            ("one at the end of a trial", "reward= of from_wide"),
        ],
    ),
    (
        "5. How to choose the rest?",
        [
            ("no wish to choose", "StackelbergPolicyCV"),
            ("a grid of your own", "GridSearchCV"),
            ("a guarantee for the value", 'lam="calibrated"'),
        ],
    ),
    (
        "6. What is it worth?",
        [
            ("propensities known, episodes short", "importance_sampling_value"),
            ("not known, or episodes long", "doubly_robust_value"),
            ("better than what was done", "value_difference"),
        ],
    ),
]

# In points: as wide as a phone's page, on which 9 points can be read.
WIDTH, HEAD, LINE, GAP, EDGE = 272.0, 24.0, 30.0, 14.0, 6.0


def in_words() -> str:
    """What the picture says, for those who do not see it."""
    said = []
    for question, answers in QUESTIONS:
        pairs = (f"{answer}: {setting}" for answer, setting in answers)
        said.append(f"{question} {'; '.join(pairs)}.")
    return " ".join(["Six questions, one below the other.", *said])


def draw(path: Path) -> None:
    """Write the picture, as SVG or PNG by the name of the file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import FancyBboxPatch, Rectangle

    height = 2 * EDGE - GAP
    height += sum(HEAD + LINE * len(answers) + GAP for _, answers in QUESTIONS)
    # Text that stays text: it can be searched, and read out.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "which_setting"}
    with matplotlib.rc_context(settings):
        figure = pyplot.figure(figsize=(WIDTH / 72, height / 72), facecolor="white")
        ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        ax.set_axis_off()
        y, inner = EDGE, WIDTH - 2 * EDGE
        for place, (question, answers) in enumerate(QUESTIONS):
            size = HEAD + LINE * len(answers)
            box = {"boxstyle": "round,pad=0,rounding_size=4", "lw": 1.2}
            frame = FancyBboxPatch(
                (EDGE, y), inner, size, fc="#EEF5FA", ec="#0072B2", **box
            )
            head = FancyBboxPatch(
                (EDGE, y), inner, HEAD, fc="#0072B2", ec="#0072B2", **box
            )
            ax.add_patch(frame)
            ax.add_patch(head)
            ax.text(
                EDGE + 8,
                y + HEAD / 2,
                question,
                color="white",
                weight="bold",
                size=10,
                va="center",
            )
            for row, (answer, setting) in enumerate(answers):
                top = y + HEAD + LINE * row
                if row:
                    ax.add_patch(Rectangle((EDGE + 8, top), inner - 16, 0.5, fc="0.75"))
                ax.text(EDGE + 8, top + 10, answer, size=9, va="center")
                is_code = " " not in setting
                ax.text(
                    EDGE + 20,
                    top + 21.5,
                    f"→ {setting}",
                    size=9,
                    va="center",
                    family="monospace" if is_code else "sans-serif",
                    color="#A33B00" if is_code else "0.25",
                )
            y += size
            if place < len(QUESTIONS) - 1:
                ax.annotate(
                    "",
                    (WIDTH / 2, y + GAP),
                    (WIDTH / 2, y),
                    arrowprops={"arrowstyle": "-|>", "color": "0.3", "lw": 1.2},
                )
            y += GAP
        # No date: the same words make the same file.
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=150, metadata=metadata)
        pyplot.close(figure)


if __name__ == "__main__":
    draw(PICTURE)
