"""Options leave the question; letters that name points do not make options."""

import pytest

from hint_grpo.data.fill_in import clean_question, fill_in, split_options
from hint_grpo.data.samples import Filter, Refused

ABCD = {"A": "30°", "B": "45°", "C": "60°", "D": "90°"}
STEM = "As shown, the degree of angle C is ()"

WITH_OPTIONS = {
    "lines": (f"{STEM}\nA. 30°\nB. 45°\nC. 60°\nD. 90°", ABCD),
    "a request for the letter": (
        f"{STEM}\nA. 30°\nB. 45°\nC. 60°\nD. 90°\nAnswer with the option's letter from the given choices directly.",
        ABCD,
    ),
    "brackets": (f"{STEM}\n(A) 30°\n(B) 45°\n(C) 60°\n(D) 90°", ABCD),
    "brackets on one line, with a header": (f"{STEM}\nOptions: (A) 30° (B) 45° (C) 60° (D) 90°", ABCD),
    "full-width brackets": (f"{STEM}\uff08A\uff0930°\uff08B\uff0945°\uff08C\uff0960°\uff08D\uff0990°", ABCD),
    "full-width colons": (f"{STEM}\nA\uff1a30°\nB\uff1a45°\nC\uff1a60°\nD\uff1a90°", ABCD),
    "full-width stops and commas": (f"{STEM}A\uff0e30°\uff0cB\uff0e45°\uff0cC\uff0e60°\uff0cD\uff0e90°。", ABCD),
    "half brackets": (f"{STEM}\nA) 30°\nB) 45°\nC) 60°\nD) 90°", ABCD),
    "one line": (f"{STEM} A. 30° B. 45° C. 60° D. 90°", ABCD),
    "one line without spaces": (f"{STEM} A.30° B.45° C.60° D.90°", ABCD),
    "colons below a header": (f"{STEM}\nChoices:\nA: 30°\nB: 45°\nC: 60°\nD: 90°", ABCD),
    "chinese marks and request": (f"{STEM}\nA、30°\nB、45°\nC、60°\nD、90°\n请直接回答选项字母。", ABCD),
    "bold": (f"{STEM}\n**A.** 30°\n**B.** 45°\n**C.** 60°\n**D.** 90°", ABCD),
    "numbers with points": (f"{STEM}\nA.3\nB.4\nC.5.5\nD.6", {"A": "3", "B": "4", "C": "5.5", "D": "6"}),
    "a request before the question": (
        "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.\n"
        f"Question: {STEM}\nChoices:\n(A) 30°\n(B) 45°\n(C) 60°\n(D) 90°",
        ABCD,
    ),
    "a request before it on the same line": (
        "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end. "
        f"Question: {STEM} Choices: (A) 30° (B) 45° (C) 60° (D) 90°",
        ABCD,
    ),
    "a line before it that asks for a letter": (
        f"Answer with the option's letter from the given choices directly.\n{STEM}\nA. 30°\nB. 45°\nC. 60°\nD. 90°",
        ABCD,
    ),
    "two options": (f"{STEM}\nA. 30°\nB. 45°", {"A": "30°", "B": "45°"}),
    "windows line ends": (f"{STEM}\r\nA. 30°\r\nB. 45°\r\nC. 60°\r\nD. 90°", ABCD),
}


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_options_leave_the_question(name: str) -> None:
    question, options = WITH_OPTIONS[name]
    assert split_options(question) == (STEM, options)


@pytest.mark.parametrize(
    "question",
    [
        "AB touches circle A. Find the length of BC.",
        "AB touches circle A. B lies on it. C does too. What is the length of AB?",
        "Line CD meets circle A.\nB is its midpoint. How long is CD?",
        "angle A: angle B: angle C: angle D = 1:2:3:4, what is angle D?",
        "Points (A) and (B) lie on a circle, what is its diameter?",
        "With f(A) = 3 and f(B) = 4 and f(C) = 5, what is f(D)?",
        "In quadrilateral ABCD, angle A = 80.0, angle B = 60.0, then angle C + angle D is ()",
        "A. B. C.",
        "A. 30°\nB. 40°",
        "",
    ],
)
def test_letters_of_points_are_no_options(question: str) -> None:
    assert split_options(question) == (question, {})


def test_a_point_called_a_stands_beside_real_options() -> None:
    question = "BC touches circle A. What is its radius?\nA. 3\nB. 4\nC. 5\nD. 6"
    assert split_options(question) == (
        "BC touches circle A. What is its radius?",
        {"A": "3", "B": "4", "C": "5", "D": "6"},
    )
    assert split_options("Which is right?\nA. circle A.\nB. circle B.\nC. circle C.")[1] == {
        "A": "circle A",
        "B": "circle B",
        "C": "circle C",
    }


def test_a_request_that_is_the_whole_question_stays() -> None:
    assert split_options("Choose the correct option.\nA. 3\nB. 4") == (
        "Choose the correct option.",
        {"A": "3", "B": "4"},
    )
    hint = "Hint: Please answer with an integer.\nQuestion: How many?"
    assert split_options(f"{hint}\nA. 3\nB. 4")[0] == hint


def test_text_behind_the_options_is_kept() -> None:
    assert split_options("How many?\nA. 3\nB. 4\nOnly the red ones count.") == (
        "How many?\nOnly the red ones count.",
        {"A": "3", "B": "4"},
    )


def test_image_tags_leave_the_question() -> None:
    assert clean_question("<image>\nHow many?") == "How many?"
    assert clean_question("How many?\n<image>") == "How many?"
    assert clean_question("In <image> how many?") == "In\nhow many?"
    assert clean_question("x <y and y> z") == "x <y and y> z"


QUESTION = f"{STEM}\nA. 30°\nB. 45°\nC. none of these"


@pytest.mark.parametrize(
    "answer", ["B", "(B)", "B.", "The answer is B.", "The correct option is (B).", "B. 45°", "**B**"]
)
def test_a_letter_becomes_its_options_text(answer: str) -> None:
    assert fill_in(QUESTION, answer, keep_multiple_choice=False) == (STEM, "45°")


def test_multiple_choice_kept_keeps_question_and_letter_of_the_same_samples() -> None:
    assert fill_in(QUESTION, "The answer is B.", keep_multiple_choice=True) == (QUESTION, "B")
    for keep in (False, True):
        with pytest.raises(Refused) as refused:
            fill_in(QUESTION, "C", keep_multiple_choice=keep)
        assert refused.value.reason is Filter.NO_NUMBER
        with pytest.raises(Refused) as refused:
            fill_in(STEM, "C", keep_multiple_choice=keep)
        assert refused.value.reason is Filter.LETTER_WITHOUT_OPTIONS


def test_an_answer_by_value_still_loses_the_options() -> None:
    assert fill_in(QUESTION, "45°", keep_multiple_choice=False) == (STEM, None)
    assert fill_in(STEM, "D. 12 cm", keep_multiple_choice=False) == (STEM, "12 cm")
    assert fill_in(STEM, "D. 40°, not 50°", keep_multiple_choice=False) == (STEM, "40°")
