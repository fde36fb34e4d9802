"""The data sets of --benchmark. Each is an Adapter; the comment above it names its columns and their source.

"Card": the feature list on the data set's Hub page. "Published rows": rows of it shown in public. "Convention": seen in
neither, but the benchmark's public evaluations rely on it. None of the data sets was available when this was written: the
tests write tiny ones with these columns, and a copy with different columns is refused with the names of both.

The paper names the benchmarks and gives accuracies, but neither the wording of the questions nor the rules for judging. So
numbers made here can be compared with each other (scales, checkpoints, with and without the picture), and only roughly with
published tables.

Light to import: `--help` lists the names.
"""

from hint_grpo.evaluation.datasets.adapter import (
    Adapter,
    Row,
    ask_letter,
    ask_yes_no,
    letter_from_index,
    letter_from_text,
    list_options,
    without_image_mark,
)
from hint_grpo.machine.errors import UserError
from hint_grpo.plugins import is_reference, load

# MMBench gives the shifted copies of a question an index of a million or more (convention).
CIRCULAR_FROM = 1_000_000


def circular_copy(row: Row) -> str | None:
    """The reason to leave out a row of MMBench that repeats a question with its options shifted; None for other rows."""
    index = str(row["index"]).strip()
    return "shifted copies for circular evaluation" if index.isdigit() and int(index) >= CIRCULAR_FROM else None


# Card: pid, query, decoded_image, choices, answer, precision (float), question_type. Convention: question_type is
# "multi_choice" or "free_form" (choices are then null), and the answer of a choice is its text. `query` is the benchmark's
# own prompt: a hint on the form of the answer, the question, the choices.
MATHVISTA = Adapter(
    name="mathvista",
    hub_id="AI4Math/MathVista",
    split="testmini",
    id=("pid",),
    question="query",
    image="decoded_image",
    answer="answer",
    options=("choices",),
    choice_if=("question_type", "multi_choice"),
    gold_letter=letter_from_text,
    judge="value",
    precision="precision",
    note="MathVista testmini: judged by rules; the official evaluation has a language model extract the answers",
)

# Card (of a copy): index, question, image, answer, category. Convention: the question lists its options, "Options: A: ..,
# B: ..", and the answer is a letter.
MMSTAR = Adapter(
    name="mmstar",
    hub_id="Lin-Chen/MMStar",
    split="val",
    id=("index",),
    question="question",
    answer="answer",
    options=("question",),
    judge="choice",
    format=ask_letter,
    category="category",
)

# Published rows: sample_index, problem_version, image, answer (a letter or a value), question_type, query_cot (the
# benchmark's own prompt), question_for_eval. Convention: question_type is "multi-choice" or "free-form"; with "Vision Only"
# the question is in the picture only; question_for_eval has it in words for every version (its options are read here).
MATHVERSE = Adapter(
    name="mathverse",
    hub_id="AI4Math/MathVerse",
    config="testmini",
    split="testmini",
    id=("sample_index",),
    question="query_cot",
    answer="answer",
    options=("question_for_eval",),
    choice_if=("question_type", "multi-choice"),
    judge="value",
    category="problem_version",
    note="MathVerse testmini: all five problem versions together, and each by itself",
)

# Card: id, question, options, decoded_image, answer, subject. Convention: the question marks the picture's place by
# <image1>; options are empty in free-form rows, and bare letters when the picture has them; the answer of a choice is its
# letter.
MATHVISION = Adapter(
    name="mathvision",
    hub_id="MathLLMs/MathVision",
    split="test",
    id=("id",),
    question="question",
    image="decoded_image",
    answer="answer",
    options=("options",),
    choice_if_options=True,
    judge="value",
    format=without_image_mark,
    category="subject",
)

# Card: index, question, hint, answer, A to D, category, image. Convention: the answer is a letter; blank cells may be "nan".
MMBENCH = Adapter(
    name="mmbench",
    hub_id="lmms-lab/MMBench",
    config="en",
    split="dev",
    id=("index",),
    question="question",
    context="hint",
    answer="answer",
    options=("A", "B", "C", "D"),
    judge="choice",
    format=list_options,
    category="category",
    leave_out=circular_copy,
    note="MMBench dev (en): vanilla accuracy, each question once; the official number is circular (every shift right)",
)

# Convention: question_id ("v1_0", ..), image, question, answer, as the official evaluator's own files have them.
MMVET = Adapter(
    name="mmvet",
    hub_id="lmms-lab/MMVet",
    split="test",
    id=("question_id",),
    question="question",
    answer="answer",
    judge="none",
    note="MM-Vet: not judged here; its official evaluator has GPT-4 grade each completion",
)

# Convention: question, options, image; answer is the right option's index from 0, as text. Rows have no id.
AI2D = Adapter(
    name="ai2d",
    hub_id="lmms-lab/ai2d",
    split="test",
    question="question",
    answer="answer",
    options=("options",),
    gold_letter=letter_from_index,
    judge="choice",
    format=list_options,
)

# Convention: category, subcategory, set_id, figure_id and question_id name a question; gt_answer is "1" for yes and "0"
# for no; image. The split non_image holds the questions that are asked without a picture.
HALLUSIONBENCH = Adapter(
    name="hallusionbench",
    hub_id="lmms-lab/HallusionBench",
    split="image",
    id=("category", "subcategory", "set_id", "figure_id", "question_id"),
    question="question",
    answer="gt_answer",
    judge="yes_no",
    format=ask_yes_no,
    category="subcategory",
    note="HallusionBench: accuracy per question (aAcc) over the split with pictures; text-only questions (non_image), "
    "figure and question-pair accuracy are left out",
)

_ALL = (MATHVISTA, MMSTAR, MATHVERSE, MATHVISION, MMBENCH, MMVET, AI2D, HALLUSIONBENCH)
ADAPTERS = {adapter.name: adapter for adapter in _ALL}


def adapter_of(benchmark: str) -> Adapter:
    """The adapter that --benchmark names: one of `ADAPTERS`, or the user's own (`file.py:name`). Raises UserError."""
    if is_reference(benchmark):
        adapter = load(benchmark, "--benchmark")
        if not isinstance(adapter, Adapter):
            raise UserError(
                f"--benchmark {benchmark}: it is a {type(adapter).__name__}; give an Adapter (docs/your_own.md)"
            )
        return adapter
    if benchmark not in ADAPTERS:
        raise UserError(
            f"--benchmark {benchmark} is not known: choose one of {', '.join(ADAPTERS)}, or give your own as file.py:name"
        )
    return ADAPTERS[benchmark]
