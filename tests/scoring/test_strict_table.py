"""What `strict` accepts and refuses, case by case, modelled on geometry ground truths and real answers.

`answer_tables.py` describes the format.
"""

import pytest
from answer_tables import cases

from hint_grpo.scoring import can_read, score

ACCEPTED = r"""
# degrees
72° <- 72 | 72° | 72 degrees | 72 deg | 72^\circ | $72^{\circ}$ | 72\degree | \(72^\circ\) | 72度 | ７２° | 72º
72° <- 72˚ | 72 ∘ | 72⁰ | 72.0 | 72. | +72 | 072 | = 72 | 72°. | ⏎72⏎ | 72 degree
# degrees and minutes
35.5° <- 35.5 | 35°30' | 35°30′ | 35 1/2 | 35½° | \frac{71}{2}
# dressing
72° <- \boxed{72} | \boxed{72^\circ} | **72°** | *72* | `72` | <b>72</b> | \text{72 degrees} | $\boxed{72}$
72° <- $$72$$ | \[72\] | \mathbf{72} | (72) | [72] | The answer is **72**. | <answer>72</answer> | # 72
# names and options
72° <- x = 72 | ∠PQR = 72° | \angle PQR = 72^\circ | angle 2 = 72 | angle 2 is 72° | B. 72° | (B) 72° | B: 72
72° <- B、72° | B) 72 | Option B: 72° | 72 = x | PQ = RS = 72 | Answer: 72 | ∠1: 72°
72° <- "72" | C (72°) | The correct option is C. 72° | m∠P = 72° | Final Answer: 72° | 72{}^\circ | 72^{\text{o}}
72° <- \boxed{C. 72°} | the answer is (C) 72° | 72 degrees, C | angle P = angle Q = 72° | 72° or 72 degrees | 72^{o}
# numbers in words
35 <- thirty-five | Thirty five | thirty five degrees | There are thirty-five. | \text{thirty-five}
105 <- one hundred and five | a hundred and five | one hundred five
-6 <- negative six | minus six | it is minus six
2/3 <- two thirds | two-thirds | \frac{2}{3}
-2/3 <- minus two thirds | negative two thirds | minus \frac{2}{3} | minus 2/3 | it is minus two thirds
1/2 <- a half | one half
# powers
1024 <- 2^10 | 2^{10} | 2**10 | 4^5 | 1.024×10^3
0.01 <- 10^-2 | 10^{-2} | 1/100 | 10⁻²
# prose
72° <- The angle is 72 degrees. | The measure of angle 1 is 72.0. | Angle R equals 72 degrees | 答案是72°。
72° <- x = 5, so the angle is 72° | 72° (alternate angles) | 72° (72 degrees) | 72°, since 180 - 108 = 72
72° <- It is not 71, the answer is 72 | 72°⏎⏎Explanation: the angles add up. | about 72 | ~72 | 角P为72度
# working
72° <- 180 - 108 = 72 | 180° - 108° = 72° | 60 + 12 | 2 * 36 | 2×36 | 144/2 | 144 ÷ 2 | \frac{144}{2}
# length
7cm <- 7 | 7 cm | 7cm. | 7 centimeters | 7 CM | 70 mm | 0.07 m | 7\,\text{cm} | 7\mathrm{cm} | 7厘米
# metres
0.4米 <- 0.4 | 0.4 m | 40cm | 2/5 | 0.4 meters | 0.4 metres | .4 | 0.4米 | \frac{2}{5}\text{ m}
# nautical miles
9√{2}海里 <- 9√2 | 9\sqrt{2} \text{ nautical miles} | 9√2海里 | 9 sqrt(2) nautical miles
# time
(√{2}+3)小时 <- √2+3 | 3+√2 hours | (\sqrt{2}+3) | 3 + \sqrt{2} \text{ h} | (3+√2)小时
# seconds
2.5秒 <- 2.5 | 2.5 s | 2.5 seconds | 5/2 sec | 2.5秒
# area
25πcm^{2} <- 25π | 25\pi | 25π cm² | 25\pi \text{ cm}^2 | 25\pi\,\mathrm{cm}^{2} | 25 pi square centimeters
25πcm^{2} <- 25*pi | 25π平方厘米 | 25π sq cm | 25π square units | π * 25 | 25·π | 25π cm^2^ | 25π cm<sup>2</sup>
25πcm^{2} <- 25πcm2
# markdown power
7cm^2^ <- 7 | 7cm^2 | 7 cm² | 7cm^{2} | 7 square cm
# square metres
36π平方米 <- 36π | 36\pi \text{ m}^2 | 36π square metres | 36π㎡
# roots
4√{3} <- 4√3 | 4√{3} | 4sqrt(3) | 4\sqrt{3} | $4\sqrt{3}$ | 4 * sqrt(3) | 4*sqrt 3 | \sqrt{48} | √48 | 4√(3)
4√{3} <- 4 √3 cm | 4\sqrt3 | 4\cdot\sqrt{3} | 4 square root of 3 | 4根号3 | 12/√3 | \frac{12}{\sqrt{3}}
4√{3} <- \boxed{4\sqrt{3}} | 4\sqrt{3}\text{ cm} | 4 x √3 | PQ = 4√3 ≈ 6.93 | 4√3 (≈6.93) | √3*4 | 4(√3)
4√{3} <- 4√3, approximately 6.93 | 4 tan 60° | 4\tan(60^\circ) | 2\sqrt{3}+2\sqrt{3} | \sqrt{4^2 \cdot 3}
4√{3} <- 4*3^0.5 | 4*3^(1/2) | 4 \cdot 3^{1/2} | 4 \sqrt {3} | 4sqrt3 | \sqrt{3} \times 4 | √3+√3+√3+√3
# fraction of a root
\frac{5}{2}√{3} <- 5√3/2 | 5/2√3 | \frac{5\sqrt{3}}{2} | 2.5√3 | 5/2*√3 | \dfrac{5}{2}\sqrt{3}
# root in a fraction
\frac{√{5}}{5} <- √5/5 | 1/√5 | \frac{\sqrt{5}}{5} | \sqrt{5}/5 | \frac{1}{\sqrt{5}} | sqrt(5)/5
# sum with a root
3√{2}-3 <- 3√2 - 3 | -3+3√2 | 3(√2-1) | 3\sqrt{2}-3 | 3√2−3
# part of π
\frac{1}{8}π <- π/8 | \frac{\pi}{8} | 1/8π | 0.125π | 1/8 * pi
# π
π <- π | pi | \pi | 1π | π cm
# fractions
\frac{9}{4} <- 2.25 | 9/4 | \frac94 | \dfrac{9}{4} | 2 1/4 | 2\frac{1}{4} | 2¼ | 18/8 | \tfrac{9}{4}
# numbers
1500 <- 1,500 | 1 500 | 1{,}500 | 1\,500 | 1500.0 | 1.5e3 | 1.5×10^3 | 1.5 \times 10^{3} | $1500
# negative
-8 <- −8 | -8 | - 8 | negative 8 | –8 | —8 | 负8
# ratio
3:5 <- 3 to 5 | 3:5 | 3 : 5 | 3：5 | 6:10 | 3/5 | PQ:RS = 3:5 | \frac{3}{5} | 3∶5
# ratio for a fraction
\frac{4}{9} <- 4:9 | the ratio is 4:9 | 4/9
# ratio of three
1:2:4 <- 1:2:4 | 2:4:8
# percent
40% <- 40% | 0.4 | 40 percent | 40\% | 2/5
# counting
4 <- There are 4 items. | 4 items | four | Four items | 4 different items | 4个 | 4 cubes are left
# letter
C <- C | (C) | C. 72° | The answer is C. | c | Option C | [C] | **C**
# option with its value
C. 72° <- C | 72 | C. 72° | (C)
# words
Yes <- yes. | Yes | The answer is yes
# several values
2, 7 <- 7, 2 | 2,7 | 2 and 7
# formula
y=3x+2 <- y = 3x + 2 | y = 2 + 3x | $y=3x+2$
# assignment
x=6 <- 6 | x = 6 | 6.0
"""

REFUSED = r"""
# words for other numbers, functions and inequalities
2 <- thirty two | two thirds | two hundred | one half | 2 thousand | two dozen | -two
5 <- forty five degrees | a hundred and five | 5 million | five six | sin 5 | log 5 | ln 5 | arcsin 5 | \leq 5 | \lt 5
6 <- negative six | x \le 6 | S \geqslant 6 | \geq 6 cm | \gt 6 | \log 6 | \lg 6 | \min 6 | \alpha 6 | six or seven
# another number
72° <- -72 | 7 | 2 | 720 | 0.72 | 72.1 | 108 | 71 | 172 | 72.0001
# candidates
72° <- 72 or 108 | 72, 108 | 72° and 108° | x=72 or x=108 | 72⏎108 | 72;108 | either 72 or 108 | 72 108 | 72或108
72° <- x = 72 y = 108 | A. 72° B. 108° | (A) 72 (B) 108 | 72/108 | 72 → 108 | 72° to 108° | 72~108 | ±72
72° <- I think 72, maybe 108 | \boxed{72} or \boxed{108} | \boxed{72}, \boxed{108} | 72 = 108 | 72 ≈ 108
72° <- between 60 and 72 | 108 ≈ 72 ≈ 108 | 72 (or 108)
# taken back
72° <- not 72 | more than 72 | less than 72 | >72 | half of 72 | twice 72 | at least 72 | 小于72
72° <- not equal to 72 | ≠ 72 | 72 and a half | 72° is not the answer
# powers
20 <- 2^10 | 2^1 0 | 2^{1}0
# expression
72° <- 72x | x72 | 72+x | 72 + PQ | 72 - | 72{ | {72}{1} | 72^{ | \frac{72} | 2x = 72
# no answer
72° <- ␀ | ␣ | () | ° | to be determined | ? | angle | ...
# bare coefficient
4√{3} <- 4 | 3 | 43 | √3 | 4 3 | 6.93 | 4{3} | 3√4 | 4.0 | x4√3
# bare coefficient of π
25πcm^{2} <- 25 | 25 cm² | 78.5 | 25p | 252 | π
# wrong unit
7cm <- 7m | 7° | 7 cm² | 7% | 7 km | 7 hours
# wrong power
25πcm^{2} <- 25π cm | 25π m² | 25π cm³
# half
\frac{1}{2} <- 2 | 12 | 1.2 | 1, 2 | 1 | 1:3 | ½ or 2
# ratio
3:5 <- 3:2 | 5:3 | 3 | 5 | 3:5:7 | 8
# percent
40 <- 40% | 0.4 | 40 percent
# percent wanted
40% <- 40 | 4% | 400%
# negative
-8 <- 8 | +8 | 8- | --8 or 8
# mangled
5 <- 2(3) | 2 3 | 0{2}{3} | √5 | 5√3 | 5 + QA + QB | 1:5 | 5 cubes and 3 spheres | six
# wrong chain
9√{3} <- 9.0 * tan(60.0) ≈ 9.0 * 2.3 ≈ 20.7 meters | 15.588 = 20.7 | 9√3 = 20.7
# thousands
1500 <- 1,50 | 1 | 15,00 | 1,500 or 2 | 1 5 0 0
# letter
C <- A | B | A or C | A, C | AC | C or D | not C | Cat
# words
listen <- silent | listens | ␀ | 5
# several values
2, 7 <- 2 | 7 | 2, 8 | 27 | 2, 7, 8
# formula
y=3x+2 <- y=2x+3 | 3 | y=3x | x=3y+2
"""


@pytest.mark.parametrize(("gold", "answer"), cases(ACCEPTED))
def test_reads_as_a_person_would(gold: str, answer: str):
    assert score(f"<think>a = 180</think>\n<answer>{answer}</answer>", gold) == 1.0


@pytest.mark.parametrize(("gold", "answer"), cases(REFUSED))
def test_refuses_what_a_person_would(gold: str, answer: str):
    assert score(f"<think>a = {gold}</think>\n<answer>{answer}</answer>", gold) == 0.0


@pytest.mark.parametrize("gold", sorted({gold for gold, _ in cases(ACCEPTED)}))
def test_every_ground_truth_equals_itself(gold: str):
    # The thinking ends in another number: a checker that looks there gives 0 for all of these.
    assert score(f"<think>so the sum is = 180</think><answer>{gold}</answer>", gold) == 1.0


def test_can_read_tells_values_from_the_rest():
    assert all(can_read(gold) for gold in ("72°", "7cm^2^", "(√{2}+3)小时", "3:5", "C. 72°", "40%"))
    assert not any(can_read(gold) for gold in ("C", "Yes", "2, 7", "y=3x+2", "", "72 or 108", "9" * 600))
