"""Tasks as records in the real layouts: a line of LLaVA-CoT-100k's train.jsonl, a line of GeoQA's test prompts.

One raw training record:

    {"id": "geoqa+_12", "image": "geoqa+/images/12.png", "conversations": [
        {"from": "human", "value": "As shown in the figure, .."},
        {"from": "gpt", "value": "<SUMMARY> .. </SUMMARY>\n\n<CAPTION> .. </CAPTION>\n\n<REASONING> Step 1: ..
                                  </REASONING>\n\n<CONCLUSION> 65° </CONCLUSION>"}]}

The download is not uniform, so neither are these records: the reasoning comes as numbered steps, paragraphs or sentences;
the tags are separated in three ways; and every eighth record has one of `ODDITIES`.
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hint_grpo.data.llava_cot import GEOMETRY_PREFIXES, split_steps
from hint_grpo.toy.tasks import Column, Task

Record = dict[str, Any]
SEPARATORS = ("\n\n", " \n\n", "\n")  # between two tags
LAYOUTS = ("numbered", "paragraphs", "sentences")  # of the reasoning
# An <image> tag in the question; multiple choice answered by letter, (letter) or sentence; the answer in a sentence;
# a <CONCLUSION> without closing tag; a conversation of two turns.
ODDITIES = ("image_tag", "choices_letter", "choices_bracket", "choices_sentence", "sentence", "unclosed", "two_turns")
# For `resplit`: the reasoning of an answer, and the mark of a numbered step.
REASONING = re.compile(r"(<REASONING>)(.*?)(</REASONING>)", re.DOTALL)
MARK = re.compile(r"^Step \d+:\s*")


# ----------------------------------------------------------------------------------------------------
# Training records


def image_name(task: Task, index: int) -> str:
    """The picture's path under the data root, as in the download."""
    return (
        f"geoqa+/images/{index}.png"
        if task.source == "geoqa+"
        else f"CLEVR_v1.0/images/train/CLEVR_train_{index:06d}.png"
    )


def joined_steps(task: Task, layout: str) -> str:
    """The correct reasoning as one text in one of `LAYOUTS`."""
    if layout == "numbered":
        return "\n".join(f"Step {number}: {step}" for number, step in enumerate(task.steps, 1))
    return ("\n\n" if layout == "paragraphs" else " ").join(task.steps)


def answer_text(task: Task, rng: random.Random, conclusion: str | None = None) -> str:
    """The four tagged stages of a LLaVA-CoT answer; `conclusion` replaces the solution."""
    stages = {
        "SUMMARY": "I will read the discs from top to bottom.",
        "CAPTION": f"The picture shows {len(task.picture)} discs in a column.",
        "REASONING": joined_steps(task, rng.choice(LAYOUTS)),
        "CONCLUSION": conclusion or task.solution,
    }
    return rng.choice(SEPARATORS).join(f"<{tag}> {text} </{tag}>" for tag, text in stages.items())


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def _with_choices(task: Task, rng: random.Random) -> tuple[str, str]:
    """The question with four options, and the letter of the right one."""
    position = rng.randrange(4)  # of the right option
    options = [str(int(task.solution) + place - position) for place in range(4)]
    lines = [f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True)]
    return "\n".join([task.question, *lines]), "ABCD"[position]


def _red_discs(column: Column, rng: random.Random) -> list[dict[str, str]]:
    """Another question about the same picture, for the second turn of a conversation."""
    number = str(sum(disc.colour == "red" for disc in column))
    stages = {"SUMMARY": "I will count.", "CAPTION": "The picture shows discs.", "REASONING": f"I count {number}."}
    answer = rng.choice(SEPARATORS).join(f"<{tag}> {text} </{tag}>" for tag, text in stages.items())
    return _turns("How many discs are red?", f"{answer}\n\n<CONCLUSION> {number} </CONCLUSION>")


def _odd_turns(task: Task, oddity: str, rng: random.Random) -> list[dict[str, str]]:
    """The conversation of a record with one of `ODDITIES`."""
    if oddity.startswith("choices"):
        question, letter = _with_choices(task, rng)
        conclusion = {"choices_letter": letter, "choices_bracket": f"({letter})"}.get(
            oddity, f"The answer is {letter}."
        )
        return _turns(question, answer_text(task, rng, conclusion))
    if oddity == "image_tag":
        return _turns(f"<image>\n{task.question}", answer_text(task, rng))
    if oddity == "sentence":
        return _turns(task.question, answer_text(task, rng, f"The answer is {task.solution}."))
    if oddity == "unclosed":
        return _turns(task.question, answer_text(task, rng).removesuffix(" </CONCLUSION>"))
    return _turns(task.question, answer_text(task, rng)) + _red_discs(task.picture, rng)  # two_turns


def training_record(task: Task, index: int, rng: random.Random) -> Record:
    """One line of train.jsonl. Every eighth has an oddity, each of `ODDITIES` in turn."""
    num_odd_before, place = divmod(index, 8)
    turns = _turns(task.question, answer_text(task, rng))
    if place == 7:
        turns = _odd_turns(task, ODDITIES[num_odd_before % len(ODDITIES)], rng)
    return {"id": f"{task.source}_{index}", "image": image_name(task, index), "conversations": turns}


def foreign_records() -> list[Record]:
    """Records that a geometry run filters out: two from other folders, one whose answer has no number."""
    stages = (
        "<SUMMARY> I will look. </SUMMARY>\n\n<CAPTION> A picture. </CAPTION>\n\n<REASONING> It is red. </REASONING>"
    )
    return [
        {
            "id": "coco_0",
            "image": "coco/train2017/000000000009.jpg",
            "conversations": _turns(
                "Which colour is it?\nA. red\nB. blue", f"{stages}\n\n<CONCLUSION> A </CONCLUSION>"
            ),
        },
        {
            "id": "sqa_0",
            "image": "sqa/train/7/image.png",
            "conversations": _turns(
                "How many? Options: (A) 1 (B) 2", f"{stages}\n\n<CONCLUSION> The answer is A. </CONCLUSION>"
            ),
        },
        {
            "id": "CLEVR_v1.0_yes",
            "image": "CLEVR_v1.0/images/train/CLEVR_train_900000.png",
            "conversations": _turns("Is anything red in the picture?", f"{stages}\n\n<CONCLUSION> yes </CONCLUSION>"),
        },
    ]


# ----------------------------------------------------------------------------------------------------
# Test questions, and a user's own records


def test_row(task: Task, image_path: str) -> Record:
    """One line of geoqa_test_prompts.jsonl; the ground truth is a string, as in the real file."""
    return {"image_path": image_path, "question": task.question, "ground_truth": task.solution}


def own_record(task: Task, id: str, image: str) -> Record:
    """One line of a user's own training file (docs/your_own.md)."""
    return {
        "id": id,
        "image": image,
        "question": task.question,
        "solution": task.solution,
        "reasoning_steps": list(task.steps),
    }


# ----------------------------------------------------------------------------------------------------
# Re-split records, like the authors' llavacot_geometry.jsonl: records whose reasonings are "Step 1: ..", "Step 2: ..".
# `world` writes them beside the data folder; inside it, a run would use them without --steps_file.


def resplit(text: str) -> str:
    """An answer with its reasoning split into numbered steps; the rest is unchanged."""

    def numbered(found: re.Match[str]) -> str:
        steps = [MARK.sub("", step) for step in split_steps(found[2])]
        lines = "\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, 1))
        return f"{found[1]} {lines} {found[3]}"

    return REASONING.sub(numbered, text)


def resplit_records(train_file: Path) -> Iterator[dict[str, Any]]:
    """Yields the geometry records of a train.jsonl in order, with their reasonings re-split."""
    with train_file.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if record["image"].startswith(GEOMETRY_PREFIXES):
                turns = [turn | {"value": resplit(turn["value"])} for turn in record["conversations"]]
                yield record | {"conversations": turns}
