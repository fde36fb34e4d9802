"""Choices, yes or no, and values to a precision: what counts as right, in both protocols."""

import pytest

from hint_grpo.data.questions import Judging, Question
from hint_grpo.evaluation.judging import is_judged_correct, judge_again, judge_answer, letter_of
from hint_grpo.evaluation.results import Answer, Result, read_results, result_line

ANGLES = ("30°", "45°", "65°", "115°")
THINGS = ("a red cat", "The dog.", "no animal", "both A and B")
CHOICE = Judging("choice", ANGLES)


def turn(answer: str) -> str:
    return f"<think>so it goes</think><answer>{answer}</answer>"


def strict(answer: str, gold: str, judging: Judging) -> bool:
    return is_judged_correct(turn(answer), gold, judging, "strict")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *[(text, "C") for text in ("C", "c", " C. ", "(C)", "[C]", "**C**", "$C$", "\\boxed{C}", "Option C", "C) 65°")],
        *[(text, "C") for text in ("C. 65°", "(C) 65°", "C: 65", "The answer is C", "The correct option is (C).")],
        *[
            (text, "C")
            for text in ("65°", "65", "65 degrees", "$65^\\circ$", "\\text{C}", "Answer: C", "answer is C, 65°")
        ],
        ("C. 45°", "C"),  # the letter counts, not the text beside it
        ("115", "D"),
        ("115.0", "D"),
        ("E", None),  # no such option
        ("66", None),
        ("30 or 45", None),
        ("A or B", None),
        ("none of these", None),
        ("A triangle has 65", "C"),  # an article is no letter
    ],
)
def test_the_option_a_short_answer_names(answer: str, letter: str | None) -> None:
    assert letter_of(answer, ANGLES) == letter


CITIES = ("paris", "oslo", "rome", "tokyo")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *[(text, "D") for text in ("D (tokyo).", "D tokyo", "D. tokyo", "(D) Tokyo", "tokyo", "The answer is tokyo")],
        *[(text, "D") for text in ("The answer should be (D)", "definitely **(D) tokyo**", "Choice D is correct.")],
        *[
            (text, "D")
            for text in ("答案：D", "选项为(D)", "选D", "The correct option letter is (D) tokyo", "not A but D")
        ],
        *[
            (text, "A")
            for text in ("A (paris)", "(A) paris, not (B) oslo", "The answer is (A), because (D) is far away")
        ],
        *[(text, None) for text in ("(A), (B), and (C)", "A or D", "(A) paris (B) oslo", "A. paris\nB. oslo", "not D")],
        *[(text, None) for text in ("neither A nor B", "A, B, C, D", "D is wrong", "A city", "point D", "选A或D", "E")],
        *[(text, None) for text in ("A. The answer is D", "D = 5", "none of A, B, C, D", "paris or oslo")],
    ],
)
def test_the_option_among_names(answer: str, letter: str | None) -> None:
    assert letter_of(answer, CITIES) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        *[(text, "B") for text in ("B (No).", "No, there are not.", "no", "No.", "(B) No", "B. No")],
        *[(text, "A") for text in ("Yes, it is.", "Yes", "definitely **(A) Yes**", "A", "The answer is yes")],
        *[(text, None) for text in ("Yes or no", "(A) Yes (B) No", "A or B", "maybe", "yesterday")],
    ],
)
def test_the_option_of_yes_and_no(answer: str, letter: str | None) -> None:
    assert letter_of(answer, ("Yes", "No")) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("a red cat", "A"),
        ("A red cat.", "A"),
        ("A  RED cat", "A"),
        ("the dog", "B"),
        ("dog", "B"),
        ("No animal", "C"),
        ("both A and B", "D"),
        ("a blue cat", None),
        ("a cat", None),
    ],
)
def test_the_option_whose_words_are_said(answer: str, letter: str | None) -> None:
    assert letter_of(answer, THINGS) == letter


def test_an_option_said_twice_over_names_none() -> None:
    assert letter_of("5", ("5", "5.0", "6")) == "A"  # word for word
    assert letter_of("5 cm", ("5", "5.0", "6")) is None
    assert letter_of("x", ("x", "y", "x")) is None


def test_letters_without_known_options() -> None:
    assert letter_of("D", ()) == "D"
    assert letter_of("Z", ()) is None


@pytest.mark.parametrize(
    ("completion", "strict_right", "paper_right"),
    [
        (turn("C"), True, True),
        ("<think>A? No.</think><answer>A</answer><answer>C</answer>", True, True),
        ("<think>The answer is C</think><answer>B</answer>", False, False),
        ("<think>x</think><answer>C", False, True),  # never closed
        ("<think>x</think> So the answer is C.", False, True),
        ("It is not 30° (A).\nTherefore the correct option is (C), because the angles add up.", False, True),
        ("Adding up, we get\n\n65°", False, True),
        ("Options (A) and (B) are too small, which leaves (C) as it stands.", False, True),
        ("Angle A is 30 and angle B is 45.", False, False),
        ("", False, False),
        ("<think>C</think>", False, True),
    ],
)
def test_choices_in_both_protocols(completion: str, strict_right: bool, paper_right: bool) -> None:
    assert is_judged_correct(completion, "C", CHOICE, "strict") == strict_right
    assert is_judged_correct(completion, "C", CHOICE, "paper") == paper_right


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        *[
            (text, "yes")
            for text in ("yes", "Yes.", "YES", "**Yes**", "Yes, the red line is above", "The answer is yes")
        ],
        *[(text, "no") for text in ("no", "No, not at all", "no: yes would be wrong")],
        *[
            (text, "neither")
            for text in ("yes or no", "1", "nothing", "I do not know", "yesterday", "Yes, no", "Yes/no")
        ],
    ],
)
def test_yes_or_no(answer: str, said: str) -> None:
    judging = Judging("yes_no")
    assert [gold for gold in ("yes", "no") if strict(answer, gold, judging)] == [said] * (said != "neither")


def test_yes_or_no_outside_the_tags_counts_for_paper_alone() -> None:
    completion = "Is it above? No line crosses it, so yes"
    assert not is_judged_correct(completion, "yes", Judging("yes_no"), "strict")
    assert is_judged_correct(completion, "yes", Judging("yes_no"), "paper")
    assert not is_judged_correct("<think>yes</think><answer>No</answer>", "yes", Judging("yes_no"), "paper")


@pytest.mark.parametrize(
    ("answer", "gold", "precision", "right"),
    [
        ("7.2", "7.2", 1, True),
        ("7.24", "7.2", 1, True),
        ("7.16 cm", "7.2", 1, True),
        ("7.25", "7.2", 1, True),  # a tie: rounded down by some, up by others
        ("7.26", "7.2", 1, False),
        ("7", "7.2", 1, False),
        ("7.24", "7.2", None, False),
        ("-7.2", "7.2", 1, False),
        ("0.333", "0.33", 2, True),
        ("2.4", "2", 0, True),
        ("seven", "7.2", 1, False),
    ],
)
def test_values_to_a_precision(answer: str, gold: str, precision: int | None, right: bool) -> None:
    assert strict(answer, gold, Judging("value", precision=precision)) == right


def test_values_are_the_answer_checkers() -> None:
    assert strict("2√3", "2\\sqrt{3}", Judging())
    assert is_judged_correct("<think>the result is 4</think>", "4", Judging(), "paper")
    assert not is_judged_correct("<think>the result is 4</think>", "4", Judging(), "strict")


def test_what_is_judged_elsewhere_is_never_right_here() -> None:
    for protocol in ("strict", "paper"):
        assert not is_judged_correct(turn("a harbour"), "a harbour", Judging("none"), protocol)


def test_a_stored_line_is_judged_again_as_it_says(tmp_path) -> None:
    judging = Judging("choice", ANGLES, None, "Vision Only")
    question = Question("1", "/x.png", "images/x.png", "How large?", "C", "mathverse row 1", judging)
    result = judge_answer(question, Answer(turn("65°"), 9, "stop"))
    assert (result.correct_strict, result.correct_paper, result.judging) == (True, True, judging)
    path = tmp_path / "results.jsonl"
    path.write_text(result_line(result), encoding="utf-8")
    (stored,) = read_results(path).values()
    assert stored == result
    assert judge_again(stored) == result


def test_a_line_judged_by_value_has_no_judging_field(tmp_path) -> None:
    plain = Result("0", "0.png", "how many?", "4", turn("4"), "4", True, True, 7, "stop")
    assert "judging" not in result_line(plain)
    path = tmp_path / "results.jsonl"
    path.write_text(result_line(plain), encoding="utf-8")
    assert read_results(path) == {"0": plain}
