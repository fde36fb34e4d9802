"""From a conclusion to the value a completion is compared with."""

import pytest

from hint_grpo.data.answers import conclusion_value, has_number, option_letter


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
        ("the length of BC is √3 according to the theorem.", None),
        ("The area of the circle equals 16\\pi for this radius.", None),
        ("The side AC measures \\(\\sqrt{5}\\) by the Pythagorean theorem.", None),
        ("The area of the shaded part is 9\\pi when r is 3.", "9\\pi"),
        ("The angle is 40°, as shown", "40°"),
        ("If r is 3, the area is 9", "9"),
        ("The ratio equals sin 30° in this figure", None),
        ("The length is √13 units long", None),
        ("The area is 4x in this figure", None),
        ("The side is 5cm in this figure", "5cm"),
        ("A has 3 and B has 5 items.", None),
        ("2 cubes and 3 spheres", None),
        ("Angle 1 equals angle 2.", None),
    ],
)
def test_value(conclusion: str, value: str | None) -> None:
    assert conclusion_value(conclusion) == value


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


def test_what_holds_a_number() -> None:
    assert all(map(has_number, ["4", "½", "2π", "\\pi", "√3 = 1.7", "角是40°", "40"]))
    assert not any(map(has_number, ["yes", "∠1", "angle 2", "\\angle 1 and \\angle 2", "Figure 3", "cm²", "five", ""]))
