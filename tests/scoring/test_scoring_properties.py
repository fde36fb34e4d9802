"""Properties that hold for any input, and agreement with math_verify where the checker decides without it."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify import LatexExtractionConfig, parse, verify

from hint_grpo.scoring import extract_answer, is_well_formatted, score
from hint_grpo.scoring.single_value import read_single_value

# The first comparison starts a worker process, and the machine may be busy: no deadline per example.
relaxed = settings(deadline=None, max_examples=100)
few = settings(deadline=None, max_examples=25)  # each example is several trips to a worker

NUMBERS = st.one_of(
    st.integers(-10_000, 10_000).map(str),
    st.decimals(-1000, 1000, places=2).map(str),
    st.decimals(-2, 2, places=7).map(lambda number: f"{number:f}"),
)
DRESSINGS = [  # around a whole number
    "{}", "${}$", "\\({}\\)", "\\boxed{{{}}}", "**{}**", "{}°", "{} degrees", "{}^\\circ", "x = {}", "= {}", "B. {}",
    "(B) {}", "The answer is {}.", "angle 1 = {}", "\\text{{{}}}", " {} ", "{}.", "{} cm",
    "\\angle PQR = {}^{{\\circ}}", "so the angle is {}",
    "答案是{}度", "`{}`", "{} (see the figure)", "∠P = {}°", "Option C: {}",
]  # fmt: skip
# Pieces of answers, of markup and of what breaks parsers.
_GLUED = r"""
    \frac{1}{2} \frac \sqrt{3} \sqrt √ √( { } ( ) [ ] $ \( \) \[ \] \boxed{ \text{ ** ^ ^{ _ = ≈ < > ± , . : ; ° ' 1 65
    2.5 1,000 - + * / % π pi x AB cm 米 根号 or and is not ½ ² ⁰ ： ， <answer> </answer> <think> </think> sin \tan B.
    (A) therefore about ! \ \\ 1e5 ٣ answer: final
"""
PIECES = st.sampled_from(
    [*_GLUED.split(), " ", "\n", "\t", "\u200b", "\ud800", "\x00", "9" * 50, "angle 1", "final answer is"]
)
MESSES = st.lists(PIECES, max_size=25).map("".join)


@pytest.mark.parametrize("dressing", DRESSINGS)
@settings(deadline=None, max_examples=8)
@given(number=st.integers(0, 999), offset=st.integers(1, 50))
def test_dressing_never_changes_the_value(dressing: str, number: int, offset: int):
    completion = f"<think>a = 180</think><answer>{dressing.format(number)}</answer>"
    assert score(completion, f"{number}") == 1.0
    assert score(completion, f"{number + offset}") == 0.0


@relaxed
@given(gold=NUMBERS, answer=NUMBERS)
def test_plain_numbers_score_as_math_verify_scores_them(gold: str, answer: str):
    by_math_verify = verify(*(parse(f"${text}$", [LatexExtractionConfig()]) for text in (gold, answer)))
    assert score(f"<answer>{answer}</answer>", gold) == float(by_math_verify)


@few
@given(whole=st.integers(0, 20), above=st.integers(1, 20), below=st.integers(1, 20), root=st.sampled_from([2, 3, 5, 7]))
def test_ways_to_write_a_root_are_equal(whole: int, above: int, below: int, root: int):
    gold = f"\\frac{{{above}}}{{{below}}}√{{{root}}}+{whole}"
    ways = [
        f"{above}√{root}/{below}+{whole}",
        f"{whole}+\\frac{{{above}\\sqrt{{{root}}}}}{{{below}}}",
        f"{above}/{below} sqrt({root}) + {whole}",
    ]
    for way in ways:
        assert score(f"<answer>{way}</answer>", gold) == 1.0
    assert score(f"<answer>{above}/{below}+{whole}</answer>", gold) == 0.0


@relaxed
@given(first=st.integers(1, 60), second=st.integers(1, 60), third=st.integers(1, 60), fourth=st.integers(1, 60))
def test_ratios_are_equal_if_their_quotients_are(first: int, second: int, third: int, fourth: int):
    same = Fraction(first, second) == Fraction(third, fourth)
    # math_verify compares decimals at six places; quotients of such small numbers differ by more.
    assert score(f"<answer>{third}:{fourth}</answer>", f"{first}:{second}") == float(same)


@relaxed
@given(number=st.integers(-500, 500), other=st.integers(-500, 500))
def test_two_different_candidates_are_no_answer(number: int, other: int):
    if number == other:
        other += 1
    for text in (f"{number} or {other}", f"{number}, {other}", f"x = {number} or x = {other}", f"{number}\n{other}"):
        assert score(f"<answer>{text}</answer>", f"{number}") == 0.0
        assert score(f"<answer>{text}</answer>", f"{other}") == 0.0


@relaxed
@given(completion=st.one_of(st.text(max_size=300), MESSES), gold=st.one_of(st.text(max_size=40), MESSES))
@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_any_text_scores_zero_or_one(protocol: str, completion: str, gold: str):
    assert score(completion, gold, protocol) in (0.0, 1.0)
    assert score(f"<answer>{completion}</answer>", gold, protocol) in (0.0, 1.0)


@relaxed
@given(text=st.one_of(st.text(max_size=600), MESSES))
def test_reading_never_raises_and_is_repeatable(text: str):
    assert read_single_value(text) == read_single_value.__wrapped__(text)
    assert extract_answer(text) is None or extract_answer(text).strip()
    assert is_well_formatted(text) in (True, False)


@relaxed
@given(text=MESSES)
def test_an_answer_equals_itself(text: str):
    completion = f"</think><answer>{text}</answer>"
    if extract_answer(completion) == text.strip() != "":
        assert score(completion, text) == 1.0


SENTENCES = st.sampled_from(
    [
        "Since PQ is parallel to RS, angle 1 = angle 2 = 65°.",
        "So 180 - 65 = 115.",
        "Therefore, the answer is 40.",
        "We have \\(\\frac{3}{4} \\times 8 = 6\\).",
        "The area is $4\\pi$ cm².",
        "PQ = √(5^2 + 12^2) = 13.",
        "final answer is 7. I hope",
        "<answer>65</answer>",
        "<answer> 2√3 </answer>",
        "<answer>\\sqrt{3}</answer>",
        *("x [1] y", "tan 30 = 1/2.", "it is 2:3", "0.75 or 75%", "\\boxed{12}", "1,234.5", "-3", "5 - ", "(", "\n"),
        *("<think>", "</think>", "12.5.", "10^3"),
    ]
)
GOLDS = st.sampled_from(["65°", "115", "40°", "6", "4π", "13cm", "\\frac{3}{4}", "2√{3}", "0.75", "12", "1000", "-3"])


@settings(deadline=None, max_examples=200)
@given(sentences=st.lists(SENTENCES, min_size=1, max_size=6), gold=GOLDS)
def test_paper_is_math_verify_over_the_whole_completion(sentences: list[str], gold: str):
    completion = " ".join(sentences)
    assert score(completion, gold, "paper") == float(verify(parse(gold), parse(completion)))
