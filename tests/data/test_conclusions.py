"""From a conclusion to the value a completion is compared with."""

import pytest

from hint_grpo.data.answers import conclusion_value, has_number
from hint_grpo.data.fill_in import option_letter
from hint_grpo.data.samples import Filter, Refused
from hint_grpo.scoring import score


@pytest.mark.parametrize(
    ("conclusion", "value"),
    [
        ("40°", "40°"),
        (" 40 ", "40"),
        ("-8.", "-8"),
        ("3/4", "3/4"),
        ("1,563", "1,563"),
        ("[0, 2]", "[0, 2]"),
        ("\\(\\frac{4\\sqrt{3}}{3}\\)", "\\frac{4\\sqrt{3}}{3}"),
        ("$3\\sqrt{2}$ cm", "$3\\sqrt{2}$ cm"),
        ("**12**", "12"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("So we get \\(\\boxed{5\\pi}\\).", "5\\pi"),
        ("The answer is 40°.", "40°"),
        ("The answer is: 40°", "40°"),
        ("Answer: 17", "17"),
        ("Therefore, the answer is that angle A is 65°.", "65°"),
        ("The measure of angle 2 is 40°.", "40°"),
        ("AB = 5 cm", "5 cm"),
        ("The perimeter is 2 × (3 + 4) = 14 cm.", "14 cm"),
        ("The ratio of AB to CD is 3:5.", "3:5"),
        ("There are 5 red cubes in the picture.", "5"),
        ("There are 0 objects left.", "0"),
        ("5 objects are left", "5"),
        ("The area of the circle is 4π square cm", "4π square cm"),
        ("x = 3 or x = 5", "x = 3 or x = 5"),
        ("答案是65°", "65°"),
        ("the length of BC is √3 according to the theorem.", "√3"),
        ("The area of the circle equals 16\\pi for this radius.", "16\\pi"),
        ("The side AC measures \\(\\sqrt{5}\\) by the Pythagorean theorem.", "\\sqrt{5}"),
        ("The area of the shaded part is 9\\pi when r is 3.", "9\\pi"),
        ("The angle is 40°, as shown", "40°"),
        ("If r is 3, the area is 9", "9"),
        ("If a = 3 and b = 4, c is 5", "5"),
        ("If a = 3, b = 4, then c = 5.", "5"),
        ("The height can be calculated as √16 = 4.", "4"),
        ("The ratio equals sin 30° in this figure", "sin 30°"),
        ("The length is √13 units long", "√13 units"),
        ("AB is 2√3 cm long.", "2√3 cm"),
        ("The length is exactly 2√3 cm.", "2√3 cm"),
        ("The area is 4x in this figure", "4x"),
        ("The side is 5cm in this figure", "5cm"),
        ("The point is (3, -4).", "(3, -4)"),
        ("The perimeter is $2(a+b) = 14$ cm", "14 cm"),
        ("The side measures \\(x = 30\\) here", "30"),
        ("The temperature is negative 5.", "-5"),
        ("x = -5", "-5"),
        ("AB等于5厘米", "5厘米"),
        ("20√{2}海里", "20√{2}海里"),
        ("5cm^2^", "5cm^2^"),
        # A count, and what it is made of.
        ("4 (2 cubes and 2 cylinders)", "4"),
        ("5 (2 red, 3 blue)", "5"),
        ("There are 4 objects left: 2 cubes, 2 cylinders", "4"),
        ("There are 4 objects, including 2 cubes and 1 sphere.", "4"),
        ("The number of objects is 4, since 2 are red and 2 are blue.", "4"),
        # An exact value, and its estimate: the checker accepts both.
        ("10√3 ≈ 17.3 m", "10√3 ≈ 17.3 m"),
        ("AB = 10√3, approximately 17.3 m", "10√3 ≈ 17.3 m"),
        ("The length is 10√3 m (about 17.3 m).", "10√3 m ≈ 17.3 m"),
        ("AB ≈ 17.3", "17.3"),
        ("AB is approximately 17.3 m", "17.3 m"),
        # What is denied, or given only for comparison, is not the answer.
        ("The answer is x = 3, not x = 5", "3"),
        ("The answer is not 5 but 3.", "3"),
        ("The angle is 40° rather than 50°.", "40°"),
        ("The angle is 40°, which is less than 90°.", "40°"),
        ("There are 3 objects that are not red.", "3"),
        ("The angle that is not marked is 40°", "40°"),
        ("There are 5 objects larger than the small cube.", "5"),
        ("There are 2 more cubes than spheres.", "2"),
        # What says the same again, further worked out.
        ("The angle is 90 degrees minus 70 degrees, which is 20 degrees.", "20 degrees"),
        ("The angle is 38°. 38", "38°"),
        ("AB = 5, so the area is 25", "25"),
        ("The distance between 2 parallel lines is 5.", "5"),
        # Several values of one thing.
        ("40° or 100°", "40° or 100°"),
        ("40, 100", "40, 100"),
        ("x = 3, 5", "3, 5"),
        ("The solutions are 3 and 5.", "3 and 5"),
        # An inequality that is itself the answer.
        ("x > 3", "x > 3"),
        ("The range is 3 < x < 5", "3 < x < 5"),
    ],
)
def test_value(conclusion: str, value: str) -> None:
    assert conclusion_value(conclusion) == value


@pytest.mark.parametrize(
    ("conclusion", "reason"),
    [
        ("x = 30, y = 60", Filter.SEVERAL_VALUES),
        ("AB = 3, BC = 4", Filter.SEVERAL_VALUES),
        ("AB = 3 and BC = 4", Filter.SEVERAL_VALUES),
        ("The values are \\(x = 30, y = 60\\)", Filter.SEVERAL_VALUES),
        ("\\boxed{3} and \\boxed{4}", Filter.SEVERAL_VALUES),
        ("angle A = 40°, angle B = 50°", Filter.SEVERAL_VALUES),
        ("AB and BC are 3 and 4.", Filter.SEVERAL_VALUES),
        ("AB and BC are 3 and 4 respectively.", Filter.SEVERAL_VALUES),
        ("The slope is 3/4 and the intercept is 2", Filter.SEVERAL_VALUES),
        ("The radius is 3. The area is 9π.", Filter.SEVERAL_VALUES),
        ("A has 3 and B has 5 items.", Filter.SEVERAL_VALUES),
        ("2 cubes and 3 spheres", Filter.SEVERAL_VALUES),
        ("3 of the 5 cubes are red", Filter.SEVERAL_VALUES),
        ("greater than 3", Filter.BOUND),
        ("The side is at least 3 meters.", Filter.BOUND),
        ("It is between 3 and 5.", Filter.BOUND),
        ("5 or more", Filter.BOUND),
        ("大于3", Filter.BOUND),
        ("x is not equal to 5", Filter.UNCLEAR_ANSWER),
        ("half of 10", Filter.UNCLEAR_ANSWER),
        ("5 and a half", Filter.UNCLEAR_ANSWER),
        ("5 thousand", Filter.UNCLEAR_ANSWER),
        ("AB is the square root of (5^2 - 3^2).", Filter.UNCLEAR_ANSWER),
        ("angle 3 is 180 - (angle 1 + angle 2)", Filter.UNCLEAR_ANSWER),
        ("angle 2 = angle 1 - 90°", Filter.UNCLEAR_ANSWER),
        ("The number is 5. " * 200, Filter.UNCLEAR_ANSWER),
        ("Angle 1 equals angle 2.", Filter.NO_NUMBER),
        ("l_1 is parallel to l_3", Filter.NO_NUMBER),
        ("Since 3 > 2, \\boxed{\\text{yes}}", Filter.NO_NUMBER),
        ("", Filter.NO_NUMBER),
    ],
)
def test_what_states_no_single_value_is_refused_with_its_reason(conclusion: str, reason: Filter) -> None:
    with pytest.raises(Refused) as refused:
        conclusion_value(conclusion)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    "answer", ["10√3", "10√3 m", "17.3 m", "10\\sqrt{3} ≈ 17.32"], ids=["exact", "with unit", "estimate", "both"]
)
def test_a_value_with_its_estimate_accepts_both(answer: str) -> None:
    gold = conclusion_value("The length is 10√3 ≈ 17.3 m.")
    assert score(f"<think></think><answer>{answer}</answer>", gold) == 1.0
    assert score("<think></think><answer>3 m</answer>", gold) == 0.0


@pytest.mark.parametrize(
    "text", ["\\boxed{" * 10**5, " (about 3" * 10**5, "3, not " * 10**5, "is 3 " * 10**5, "A, " * 10**5, "√" * 10**6]
)
def test_a_hostile_conclusion_costs_no_time(text: str) -> None:
    """Without a bound on its length, the first takes hours."""
    assert option_letter(text) is None
    with pytest.raises(Refused):
        conclusion_value(text)


@pytest.mark.parametrize(
    ("conclusion", "letter"),
    [
        ("C", ("C", "")),
        ("(C)", ("C", "")),
        ("\uff08C\uff09", ("C", "")),
        ("C.", ("C", "")),
        ("\\boxed{C}", ("C", "")),
        ("C. 40°", ("C", "40°")),
        ("(C) 40°.", ("C", "40°")),
        ("C: 40°", ("C", "40°")),
        ("The answer is C.", ("C", "")),
        ("The answer is: C.", ("C", "")),
        ("It is the third one. The correct answer is (C).", ("C", "")),
        ("The correct option is option C, 40°.", ("C", "")),
        ("答案是C", ("C", "")),
        ("故选\uff1aC", ("C", "")),
        ("C\uff0e40°", ("C", "40°")),
        ("Choice B is correct.", ("B", "")),
        ("Option (C) is the right answer.", ("C", "")),
        ("B is correct.", ("B", "")),
        ("It is not option A. The answer is C.", ("C", "")),
        ("12 cm (option B)", ("B", "")),
        ("C = 5", None),
        ("angle C: 5", None),
        ("The answer is AB = 5", None),
        ("The answer is a circle", None),
        ("40°", None),
        ("", None),
    ],
)
def test_letter(conclusion: str, letter: tuple[str, str] | None) -> None:
    assert option_letter(conclusion) == letter


@pytest.mark.parametrize(
    "conclusion", ["(A), (B), and (C)", "The answer is A, B and C.", "The answer is A, C", "A. 30° and C. 40°"]
)
def test_several_letters_are_not_one(conclusion: str) -> None:
    with pytest.raises(Refused) as refused:
        option_letter(conclusion)
    assert refused.value.reason is Filter.SEVERAL_OPTIONS


def test_what_holds_a_number() -> None:
    assert all(map(has_number, ["4", "½", "2π", "\\pi", "√3 = 1.7", "角是40°", "40"]))
    assert not any(map(has_number, ["yes", "∠1", "angle 2", "\\angle 1 and \\angle 2", "Figure 3", "cm²", "five", ""]))
