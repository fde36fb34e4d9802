"""What `strict` accepts and refuses beyond single values: parts, explanations, lists, formulas, choices.

`answer_tables.py` describes the format. Each accepted form has similar ones that must be refused.
"""

import pytest
from answer_tables import cases

from hint_grpo.scoring import score

ACCEPTED = r"""
40° or 100° <- 100° or 40° | 40, 100 | 40 and 100 | 40 or 100 degrees | x = 40 or x = 100 | 100 and 40 degrees
40° or 100° <- \{40, 100\} | {40°, 100°} | 40°和100° | The angle is 40° or 100°. | \boxed{40° or 100°}
40° or 100° <- \boxed{40}, \boxed{100} | [100, 40] | x_1 = 40, x_2 = 100 | either 40 or 100
40° or 100° <- The two angles are 40° and 100°
2√3 or 4√3 <- 4√3 or 2√3 | 2\sqrt{3}, 4\sqrt{3} | \sqrt{48} and \sqrt{12}
3cm or 5cm <- 5 cm or 3 cm | 3 or 5 | 3 or 5 cm | 0.05 m or 3 cm
x = 30, y = 60 <- x = 30, y = 60 | y = 60, x = 30 | 30, 60 | 30 and 60 | x=30 and y=60
angle 1 = 30°, angle 2 = 60° <- ∠2 = 60°, ∠1 = 30° | 30, 60
(3,-4) <- (3, -4) | P(3,-4) | The point is (3, -4). | the coordinates are (3,-4) | $(3,-4)$ | \left(3,-4\right)
(3,-4) <- x = 3, y = -4 | 3, -4 | (3.0, -4) | (6/2, -4) | \boxed{(3,-4)} | 点P的坐标是(3,-4)
[0, 2] <- [0,2] | [0, 2.0] | The interval is [0,2]
2a <- 2a | The area is 2a. | 2 a | 2*a | a+a | AB = 2a | S = 2a | $2a$ | \boxed{2a} | a*2 | So the length is 2a
2a <- The side is 2a cm
90°-α <- 90-α | 90° - α | ∠B = 90° - α | 90^\circ-\alpha | The angle is 90° - \alpha. | -α + 90°
180°-2α <- 2(90°-α) | 180-2\alpha | 180° - 2α degrees
a+b <- b+a | The sum is a + b. | a + b
\frac{a}{2} <- a/2 | 0.5a | \frac{1}{2}a | a ÷ 2
2√{3}a <- 2√3a | 2\sqrt{3}a | The length is 2\sqrt{3} a
x>3 <- x > 3 | 3 < x | x &gt; 3 | The solution is x > 3.
x≥3 <- x >= 3 | x \geq 3 | x ≥ 3 | 3 <= x
y=3x+2 <- The line is y = 3x+2. | y = 2+3x
x^2+y^2=4 <- x²+y²=4 | The circle is x^2 + y^2 = 4
5 <- 5 (2 red, 3 blue) | There are 5 objects left: 2 cubes, 3 spheres. | There are 5 objects left: 2 cubes and 3 spheres
5 <- 5 (2+3) | 5 (2 + 3) | 5 (2 red + 3 blue) | 5 (2 red + 3 blue = 5) | 5: 2 red and 3 blue | 5 (red: 2, blue: 3)
5 <- 5 cubes (2 are red and 3 are blue) | 5 (2 cubes, 2 spheres and 1 cylinder)
5 <- There are 5 objects left:⏎- 2 cubes⏎- 3 spheres | 2 cubes and 3 spheres, 5 in total | 2 red + 3 blue = 5
5 <- 2 + 3 = 5 | There are 5 objects, 2 cubes and 3 spheres | 5 (3 cubes) | 5个：2个红色和3个蓝色 | 5（2个红色，3个蓝色）
5 <- 5 (= 2 + 3)
5 <- 5 = 2 + 3 | 5 (five) | So there are 5 items (2 big, 3 small). | **5** (2 red, 3 blue) | \boxed{5} (2 red, 3 blue)
2 <- 2 (1 red, 1 blue)
65° <- 65°, because angle 1 = 50° | 65° because angle 1 = 50° and angle 2 = 115° | 65°, since 180 - 115 = 65
65° <- Because angle 1 = 50°, angle 2 = 65° | Since AB = 5 and BC = 7, x = 65 | 65° (180° - 115°) | 65 (180 - 115 = 65)
65° <- 65°⏎⏎Explanation: angle 1 = 50°, so it fits | 180° - 115° | 65°, as angle 1 is 50° | 65°. Because angle 1 = 50°.
65° <- 65°，因为∠1=50° | 65° (since angle 1 = 50°) | 65 degrees, given that x = 50 | 65°, where angle 1 = 50°
65° <- 65°, using angle 1 = 50° | The smaller angle is 65° | The larger angle is 65 | angle 1 equals to 65°
28% <- \boxed{28}% | \boxed{28}\% | $\boxed{28}\%$ | \boxed{28} % | \boxed{28\%} | \boxed{28} percent
28% <- The answer is $\boxed{28}$%. | 28 %
7cm <- \boxed{7} cm | $\boxed{7}\text{ cm}$ | \boxed{7}\,\mathrm{cm} | \boxed{70} mm | \boxed{7}
7cm <- The answer is \boxed{7}, so we are done. | Since 3 + 4 = 7, \boxed{7} | x = \boxed{7} | 3 + 4 = \boxed{7}
3/4 <- \frac3{4} | \frac{3}4 | \frac34 | \frac 34 | \frac 3 4 | \dfrac3{4} | \frac{3}{4}
π/4 <- \frac\pi4 | \frac{\pi}4 | \frac\pi{4}
\frac{√{3}}{2} <- \frac{\sqrt3}2 | \frac{√3}2
12π <- 12 x π | 12 × π | 12 x \pi | π x 12 | 12 X π | 12π cm | 12 x pi | 6 x 2 x π
5 <- |-5| | \left|-5\right| | \lvert -5 \rvert | |5| | \abs{-5} | |2-7| | |-5| = 5 | 2|-2|+1
2√{3} <- |-2√3| | |−2√3|
65 <- x == 65 | &nbsp;65 | 65&deg; | 65&#176; | x => 65 | # 65 | x <=> 65 | &radic;4225
120 <- 5! | x = 5!
5 <- The answer is 5! | There are 5! | It adds up to 5 | They sum up to 5. | There are 5 cubes! | about 5 | equal to 5
5 <- The upper number is 5 | 5 cubes are left over there | The number above is 5
1 <- one | One | one cube | There is one. | There is only one | One red cube | only one | exactly one cube is left
1 <- The answer is one. | Answer: one | There's one | one left | It is one | number one | just one
21 <- twenty one | twenty-one
1000 <- 1000 = 1000 | 1000 ≈ 1004 | 999.6 = 1000 | 500 * 2 = 1000 | 10^3 = 1000 | The square of side 100 is 1000
10√{3} <- 10√3 ≈ 17.3 | 10√3 = 17.32 | 10√3 = 17.3 | 10√3 = 17.3205 ≈ 17.3 | 10√3 = 17 | 10√3 (≈ 17.3)
10√{3} <- 10√3, i.e. 17.32 | 10√3 (= 17.32) | 10√3, approximately 17.3 | AB = 10√3 ≈ 17.32 cm
0.5 <- 1/2 = 0.5 | 0.5 = 1/2
7.16 <- 7.16 ≈ 7.2 | 7.16 = 7.2
2√{3} <- AB is 2√3 cm long. | AB is 2√3 long
4 <- 4 (2 cubes and 2 cylinders) | There are 4 objects left: 2 cubes, 1 sphere and 1 cylinder. | 4 left after removing 2
4 <- After removing 2 cubes, 4 are left | There are 4 left after subtracting 2 red cubes
4 <- After removing 3 red and 2 blue cubes, 4 remain
5 minutes <- After 5 minutes. | 5 min | in 5 minutes
D <- D (tokyo). | D (tokyo) | The answer should be (D) | 选项为(D) | 选项为（D） | 答案：D | 选D | 故选：D．
D <- The correct option letter is (D) 30 | definitely **(D) Yes** | D | (D) | Choice D is correct. | D is correct
D <- It is D. | I choose D | I would go with D | My answer is D. | Option D: tokyo | D: 30° | D) 30°
D <- The best answer is option (D), 30° | D, because A and B are too small | D. Because (A) and (B) are wrong.
D <- (D) is the correct answer | A and C are wrong, so D | not A but D | A is incorrect; D is right | 答案是D。 | D、72°
D <- 正确答案为 D | 应选D | D选项正确 | \boxed{D} | \boxed{\text{D}} | The answer is: D | Answer: (D) tokyo | $\text{(D)}$ | d
D <- (d) | d) | d. 30° | The correct choice would be D | Therefore, the answer is D. | So the answer must be D
D <- The letter is D | D - tokyo | The answer is D tokyo | I think it's D | It must be (D). | D⏎⏎The angle A is 30°
D <- Answer: d | The answer is (d) | The correct answer is D since A is 30 | **Answer:** D | Answer D
A <- (A) Yes | A | The answer is A | The answer is A because it is | A is the right choice
A <- The correct option letter is (A) Yes | definitely **(A) Yes** | 答案：A | A. Yes | Option A | the answer is A. | A⏎
A <- A (Yes) | The answer is A, since the cat is red
B <- B (No). | 选B | Choice B is correct. | B. No | (B) No | B because C is wrong
Yes <- Yes, it is. | yes | Yes. | Yes, there are. | **Yes**, it is | The answer is yes. | Yes - it is | Yes! It is.
No <- No, there are not. | No. | no, it is not | No | The answer is no
5 <- 5 (not 6)
y=3x+2 <- 3x+2 | y - 3x = 2 | 3x + 2 = y
65 <- x1 = 65 | x_1 = 65 | f(5) = 65 | ∠A + ∠B = 65° | AB + BC = 65 | \angle A = 65^\circ | \frac{AB}{CD} = 65
65 <- S_{ABC} = 65 | AB^2 = 65 | S△ABC = 65 | x = 2 * 30 + 5 = 65
65° <- Given that angle 1 = 50°, and angle 2 = 30°, x = 65 | Since x = 50, the angle is given as 65°
2.6 <- \tan P = 2.6 | tan P = 2.6 | \sin B = 2.6
B <- Answer(B) | the missing value is 5, which corresponds to option B.
"""

REFUSED = r"""
65° <- angle A is 65°, and angle B is given as 115° | AC is labeled as 65, and AB is labeled as 115
65° <- angle A with 65° and angle B with 115° | 3EC = 65 | \frac{x}{2} = 65 | 3x° = 65°
B <- The height is BC * sin(B).
40° or 100° <- 40 | 100 | 40 or 110 | 40, 100, 120 | 40° or 100 cm | not 40 or 100 | 40 to 100 | between 40 and 100
40° or 100° <- 140 | 40-100 | more than 40 or 100 | 4000 | 40 or more | 40, 40 | 40/100
2√3 or 4√3 <- 2√3 | 2 or 4 | 2√3 or 2√3 | 2√3 or 4
3cm or 5cm <- 3 m or 5 m | 3° or 5°
x = 30, y = 60 <- x = 60, y = 30 | 60, 30 | 30 | 60 | x = 30 | a = 30, b = 60 | y = 30, x = 60
angle 1 = 30°, angle 2 = 60° <- ∠1 = 60°, ∠2 = 30° | 60, 30
(3,-4) <- (-4,3) | (3,4) | 3 | -4 | [3,-4] | (3,-4,5) | (3,-4) or (4,-3) | not (3,-4) | -(3,-4) | 2(3,-4)
(3,-4) <- x = -4, y = 3 | -4, 3
[0, 2] <- (0,2) | [0,2) | 0 | 2 | [2,0] | 0, 2
2a <- 2 | a | 2b | a^2 | 2a+1 | 3a | 2a or 3a | not 2a | 2c | -2a | 2/a | 2ab | a/2 | more than 2a | 2a²
90°-α <- 90° | α | 90+α | α-90 | 90°-β | 180°-α | 90
a+b <- ab | a-b | a | a+c
2√{3}a <- 2√3 | 2a | 2\sqrt{3a}
x>3 <- x >= 3 | x < 3 | 3 | x = 3 | x > 4 | not x > 3 | x ≥ 3
x≥3 <- x > 3 | x <= 3 | 3
y=3x+2 <- y = 2x+3 | x = 3y+2 | y = 3x+2 or y = x | not y = 3x+2
x^2+y^2=4 <- 4 | x^2+y^2 | x^2-y^2=4 | 2
5 <- 2 red, 3 blue | 4 (2 red, 3 blue) | 5 or 6 (2 red, 3 blue) | 7 (2 red, 5 blue) | 2 cubes, 3 spheres
5 <- 5 cubes, 3 spheres | 5 (or 6) | 5 (6) | 5 (maybe 4) | 2: 5 | 5 (2 red, 4 blue) | There are 2 cubes: 5 | 5 left: 3
5 <- 10 left: 5 red, 5 blue | 3 cubes, 2 spheres and 5 cones | 5 cm, 3 cm | 6 (5 red, 1 blue) | 5 (2 * 3)
2 <- There are 4 objects left: 2 cubes, 2 spheres | 4 objects left: 2 cubes
65° <- 50°, because angle 1 = 65° | Because angle 1 = 65°, angle 2 = 50° | 65°, because angle 1 = 50°, or 115°
65° <- 65°, or 115° because angle 1 = 50° | 65° and 50° | 65° (or 115°) | 65°, 115° because they add up
65° <- 115°, as 180 - 65 = 115 | 65 (180 - 100) | 180° - 65°
28% <- \boxed{28} | 28 | \boxed{0.28}% | \boxed{2.8}%
7cm <- \boxed{7} m | \boxed{7}^\circ | \boxed{7}\% | -\boxed{7} | 2\boxed{7} | \boxed{7} or 8 | not \boxed{7}
7cm <- > \boxed{7} | \boxed{7}\sqrt{2} | at least \boxed{7} | \boxed{7} + 1 | 3 + \boxed{7} | \sqrt{\boxed{7}}
7cm <- \boxed{7}^2 | x \neq \boxed{7} | \boxed{7}!
3/4 <- \frac4{3} | \frac{3}{}4 | \frac{34}
12π <- 12 x | x π | 12 x p | 12 x
5 <- |-4| | -|5| | 2|-5|
-5 <- |-5|
65 <- x >= 65 | x <= 65 | x != 65 | > 65 | &lt; 65 | &gt; 65 | &le; 65 | &amp;lt; 65 | x =/= 65 | < 65 | x<65 | 65 < x
65 <- x =< 65 | >= 65 | x <> 65 | ≧65 | ≦ 65 | x > 65 | $x \ge 65$ | x /= 65 | \not= 65 | &ne; 65 | &#60; 65 | 65 <= x
65 <- x⩾65 | x == 65 or 66 | \geqslant 65
5 <- 5 or more | 5 or less | up to 5 | almost 5 | nearly 5 | 5! | 5+ | at most 5 | 5 and above | 5 or above | 5 or fewer
5 <- no more than 5 | just under 5 | over 5 | below 5 | above 5 | close to 5 | x = 5! | 5 or more cubes
5 <- as many as 5, or more | a maximum of 5 | exceeds 5 | 5 and up | fewer than 5 | 5 or greater | greater 5 | 5 to 6
5 <- 5-6 | 4-5 | 5 at most | 5 以上 | 最多5 | 至少5个 | 将近5 | not quite 5 | less than or equal to 5 | 5, or more
5 <- \boxed{5} or more | 5 minimum of 4 | beyond 5 | within 5 | 5 is wrong | 5 is incorrect | 5 (or more) | 5 (at most)
5 <- 5 or higher | 5 or even more
1 <- the red one | this one | The left one | one of them | the other one | that one | which one | no one
1 <- the big red one | another one | each one | red ones | None | the one on the left | One of the cubes is red
1 <- the small one.
995 <- 995=1000=1004 | 995 = 1000 | 995=1004 | 995 is 1000 is 1004 | 995≈1004≈1014
1000 <- 995=1000=1004 | 995=1000 | 1000 = 1004
1004 <- 995=1000=1004 | 1000 = 1004
10√{3} <- 10√3 = 17.4 | 10√3 = 17.25 | 10√3 = 20 | 10√3 ≈ 18 | 17.32 | 10√3 = 17.3 = 17.45 | 17.3 = 10 | 10√3 = 17.33
7.16 <- 7.16 = 7.3 | 7.2
4 <- After removing 4 cubes, 2 are left | 2 left after removing 4 | 6 after removing 4, or 4
D <- A | (A), (B), (C) and (D) | C or D | D or C | D, C | (D) or (C) | not D | not (D) | D is wrong | (D) is not correct
D <- A. 30° D. 45° | D/C | D and C | DC | angle D | point D | triangle D | (C) (D) | A: 30⏎D: 45 | either C or D
D <- neither C nor D | D? No, C | It is C, not D | the answer is not D | all except D | (A) 30 (D) 45 | both A and D
D <- D = 30 | 2D | D+1 | The answer is C or D | answer: C, D | none of A, B, C, D | Dog | I do not choose D
D <- The answer is C. D is wrong | choose C or D | C & D | 选C或D | 不是D | D不对 | 选项为(C)和(D) | rather than D | answer is AD
D <- The answer is D or maybe C | CD | all of the above
A <- (A), (B), and (C) | A triangle | A red cat | The answer is A triangle | A or C | angle A is 30° | A = 30 | A, B
A <- AC | A, B and C | Option A or option B | A cat | (A) and (B)
Yes <- No | No, it is not. | Yes or no | Yes and no | yes/no | not yes, no | maybe | Yesterday | No, yes would be wrong
No <- Yes | Yes, it is. | No or yes | none | 0 | Not | Yes, no
5 <- 大于等于5 | 小于或等于5 | greater or equal to 5 | greater than or equal to 5 | at or below 5 | equal to or less than 5
5 <- 5 or, more likely, 6
65 <- x + 5 = 65 | 2x = 65 | x/2 = 65 | 180 - x = 65 | x^2 = 65 | 3(x+1) = 65
"""


@pytest.mark.parametrize(("gold", "answer"), cases(ACCEPTED))
def test_reads_as_a_person_would(gold: str, answer: str):
    assert score(f"<think>a = 180</think>\n<answer>{answer}</answer>", gold) == 1.0


@pytest.mark.parametrize(("gold", "answer"), cases(REFUSED))
def test_refuses_what_a_person_would(gold: str, answer: str):
    assert score(f"<think>a = {gold}</think>\n<answer>{answer}</answer>", gold) == 0.0
