"""A reasoning cut into steps: where the cuts are, and that nothing is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hint_grpo.data.llava_cot import split_steps
from hint_grpo.hints import hint_at_level

CASES = {
    "plain markers": (
        "Step 1: Angle A is 40°. It is marked.\nStep 2: Angle B is 50°.\n\nStep 3: The rest is 90°.",
        ["Step 1: Angle A is 40°. It is marked.", "Step 2: Angle B is 50°.", "Step 3: The rest is 90°."],
    ),
    "bold markers, with text before the first": (
        "We look at the triangle.\n\n**Step 1: Read.**\nA is 40°.\n**Step 2:** Add.\n**Step 3** Done.",
        ["We look at the triangle.", "**Step 1: Read.**\nA is 40°.", "**Step 2:** Add.", "**Step 3** Done."],
    ),
    "lower case, on one line": (
        "step 1: count 3. step 2. count 4. step 3) add to 7.",
        ["step 1: count 3.", "step 2. count 4.", "step 3) add to 7."],
    ),
    "headings": ("### Step 1\nRead.\n### Step 2\nAdd.", ["### Step 1\nRead.", "### Step 2\nAdd."]),
    "a mention of a step is no marker": (
        "Step 1: Read 40. Step 2: From step 1, and as in Step 1: we know 40.",
        ["Step 1: Read 40.", "Step 2: From step 1, and as in Step 1: we know 40."],
    ),
    "numbered lines": (
        "1. AB is 3.5 cm.\n2. BC is 4.\n   10. is no line of this list\n3. The sum is 7.5.",
        ["1. AB is 3.5 cm.", "2. BC is 4.\n   10. is no line of this list", "3. The sum is 7.5."],
    ),
    "numbered lines behind an announcement": (
        "The steps are:\n1) Read.\n2) Add.",
        ["The steps are:\n1) Read.", "2) Add."],
    ),
    "a number that begins a line is no list": (
        "The sides are\n3.5 and\n4.5 in turn.\n\nTogether 8.",
        ["The sides are\n3.5 and\n4.5 in turn.", "Together 8."],
    ),
    "paragraphs": (
        "The angle is 40°. So is the other.\n \nThe third is 100°.",
        ["The angle is 40°. So is the other.", "The third is 100°."],
    ),
    "a formula stays with what announces and what explains it": (
        "By Pythagoras:\n\n\\[\nc^2 = a^2 + b^2\n\n= 25\n\\]\n\nwhere c is the long side.\n\nSo c is 5.",
        ["By Pythagoras:\n\n\\[\nc^2 = a^2 + b^2\n\n= 25\n\\]\n\nwhere c is the long side.", "So c is 5."],
    ),
    "sentences": (
        "Row 1 has 2 discs. Row 2 has none! Is that all? Row 3 has approx. 3 (see Fig. 2).",
        ["Row 1 has 2 discs.", "Row 2 has none!", "Is that all?", "Row 3 has approx. 3 (see Fig. 2)."],
    ),
    "decimals end no sentence": ("AB is 3.5 cm. BC is 4.0.", ["AB is 3.5 cm.", "BC is 4.0."]),
    "chinese sentences": ("角A是40°。角B是50°。所以是90°。", ["角A是40°。", "角B是50°。", "所以是90°。"]),
    "chinese questions and announcements": ("是多少\uff1f所以\uff1a\n\n40°。", ["是多少\uff1f", "所以\uff1a\n\n40°。"]),
    "an exclamation mark in a formula ends no sentence": (
        "So 5!=120 and 3! = 6. Done.",
        ["So 5!=120 and 3! = 6.", "Done."],
    ),
    "lines": ("A is 40°\nB is 50°\nC is 90°", ["A is 40°", "B is 50°", "C is 90°"]),
    "one sentence": ("The angle is 40°.", ["The angle is 40°."]),
    "one marker alone is no cut": ("Step 1: A is 4. B is 5.", ["Step 1: A is 4.", "B is 5."]),
    "nothing": (" \n ", []),
}


@pytest.mark.parametrize("name", CASES)
def test_cuts(name: str) -> None:
    text, steps = CASES[name]
    assert list(split_steps(text)) == steps


PIECES = st.sampled_from(
    [
        "Step 1:",
        "**Step 2.**",
        "step 3)",
        "1. ",
        "2. ",
        "\n",
        "\n\n",
        " ",
        ". ",
        "。",
        "！",
        ":",
        "：",
        "\\[",
        "\\]",
        "$$",
        "- ",
        "The angle",
        "where",
        "= 5",
        "3.5",
        "e.g. ",
        "(a)",
        "40°",
    ]
)


@given(st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=40).map("".join)))
@settings(max_examples=600, deadline=None)
def test_no_text_is_lost_and_no_step_is_empty(text: str) -> None:
    steps = split_steps(text)
    assert "".join("".join(steps).split()) == "".join(text.split())
    assert all(step.strip() == step and step for step in steps)


def test_a_single_step_never_gives_a_hint() -> None:
    steps = split_steps("The angle is 40°.")
    assert [hint_at_level(steps, level, 3) for level in range(3)] == ["", "", ""]


def test_long_odd_texts_do_not_take_long() -> None:
    """Would run for hours if a pattern tried every way to share out the white space."""
    for text in (
        "." + " " * 100_000 + "x",
        "\n" * 100_000 + "x",
        "#" * 50_000 + " step",
        "1. " * 30_000,
        "\\[" * 9_000,
    ):
        assert "".join("".join(split_steps(text)).split()) == "".join(text.split())
