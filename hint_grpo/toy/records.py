"""A task as records of the real layouts: a line of LLaVA-CoT-100k's train.jsonl, a line of GeoQA's test prompts.

    {"id": "geoqa+_12", "image": "geoqa+/images/12.png", "conversations": [
        {"from": "human", "value": "As shown in the figure, .."},
        {"from": "gpt", "value": "<SUMMARY> .. </SUMMARY>\n\n<CAPTION> .. </CAPTION>\n\n<REASONING> Step 1: ..
                                  </REASONING>\n\n<CONCLUSION> 65° </CONCLUSION>"}]}

The download is not uniform, and neither is this: reasoning as numbered steps, as paragraphs or as sentences; three
separators between the tags; and, in every eighth record, one of `ODDITIES`.
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hint_grpo.data.llava_cot import GEOMETRY_PREFIXES
from hint_grpo.data.steps import split_steps
from hint_grpo.toy.tasks import COLOURS, Grid, Task, count_rows

Record = dict[str, Any]
SEPARATORS = ("\n\n", " \n\n", "\n")
LAYOUTS = ("numbered", "paragraphs", "sentences")
ODDITIES = ("image_tag", "choices_letter", "choices_bracket", "choices_sentence", "sentence", "unclosed", "two_turns")


def image_name(task: Task, index: int) -> str:
    """Path under the data root, as the download has it."""
    return (
        f"geoqa+/images/{index}.png"
        if task.source == "geoqa+"
        else f"CLEVR_v1.0/images/train/CLEVR_train_{index:06d}.png"
    )


def joined_steps(task: Task, layout: str) -> str:
    if layout == "numbered":
        return "\n".join(f"Step {number}: {step}" for number, step in enumerate(task.steps, 1))
    return ("\n\n" if layout == "paragraphs" else " ").join(task.steps)


def answer_text(task: Task, rng: random.Random, conclusion: str | None = None) -> str:
    """The four tagged stages of a LLaVA-CoT answer."""
    counting = isinstance(task.picture, Grid)
    stages = {
        "SUMMARY": f"I will {'count the items row by row' if counting else 'read the angles and add them up'}.",
        "CAPTION": f"The picture shows {'items in three rows' if counting else 'rays that start at point O'}.",
        "REASONING": joined_steps(task, rng.choice(LAYOUTS)),
        "CONCLUSION": conclusion or task.solution,
    }
    return rng.choice(SEPARATORS).join(f"<{tag}> {text} </{tag}>" for tag, text in stages.items())


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def _with_choices(task: Task, rng: random.Random) -> tuple[str, str]:
    """The question with four options, and the letter of the right one."""
    value, unit = int(task.solution.rstrip("°")), "°" if task.solution.endswith("°") else ""
    stride = 10 if unit else 1
    position = rng.randrange(4) if value >= 3 * stride else 0  # no option below zero
    options = [f"{value + stride * (place - position)}{unit}" for place in range(4)]
    lines = [f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True)]
    return "\n".join([task.question, *lines]), "ABCD"[position]


def _another_question(task: Task) -> Task | None:
    """The same grid asked about another colour: the second turn of a conversation."""
    for colour in COLOURS:
        if isinstance(task.picture, Grid) and colour not in task.question:
            return count_rows(task.picture, colour)
    return None


def _odd_turns(task: Task, oddity: str, rng: random.Random) -> list[dict[str, str]]:
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
    second = _another_question(task)
    more = _turns(second.question, answer_text(second, rng)) if second else []
    return _turns(task.question, answer_text(task, rng)) + more


def training_record(task: Task, index: int, rng: random.Random) -> Record:
    """One line of train.jsonl. Every eighth has an oddity, each in its turn."""
    turn, is_odd = divmod(index, 8)[0], index % 8 == 7
    turns = _turns(task.question, answer_text(task, rng))
    if is_odd:
        turns = _odd_turns(task, ODDITIES[turn % len(ODDITIES)], rng)
    return {"id": f"{task.source}_{index}", "image": image_name(task, index), "conversations": turns}


def foreign_records() -> list[Record]:
    """Records that a geometry run leaves out: other folders, and an answer that holds no number."""
    letter = (
        "<SUMMARY> I will look. </SUMMARY>\n\n<CAPTION> A picture. </CAPTION>\n\n<REASONING> It is red. </REASONING>"
    )
    return [
        {
            "id": "coco_0",
            "image": "coco/train2017/000000000009.jpg",
            "conversations": _turns(
                "Which colour is it?\nA. red\nB. blue", f"{letter}\n\n<CONCLUSION> A </CONCLUSION>"
            ),
        },
        {
            "id": "sqa_0",
            "image": "sqa/train/7/image.png",
            "conversations": _turns(
                "How many? Options: (A) 1 (B) 2", f"{letter}\n\n<CONCLUSION> The answer is A. </CONCLUSION>"
            ),
        },
        {
            "id": "CLEVR_v1.0_yes",
            "image": "CLEVR_v1.0/images/train/CLEVR_train_900000.png",
            "conversations": _turns("Is anything red in the picture?", f"{letter}\n\n<CONCLUSION> yes </CONCLUSION>"),
        },
    ]


def test_row(task: Task, index: int) -> Record:
    """One line of geoqa_test_prompts.jsonl; ground truths are strings, as in the real file."""
    return {
        "image_path": f"./Geo170K/images/test/{index}.png",
        "question": task.question,
        "ground_truth": task.solution,
    }


# ----------------------------------------------------------------------------------------------------
# A file like the authors' llavacot_geometry.jsonl: train.jsonl's records with their reasonings as "Step 1: ..", "Step 2: ..".
#
# It lies beside the data folder and not in it, where a run would use it without being told.

REASONING = re.compile(r"(<REASONING>)(.*?)(</REASONING>)", re.DOTALL)
MARK = re.compile(r"^Step \d+:\s*")


def resplit(text: str) -> str:
    """The reasoning of an answer as numbered steps; the rest stays."""

    def numbered(found: re.Match[str]) -> str:
        steps = [MARK.sub("", step) for step in split_steps(found[2])]
        lines = "\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, 1))
        return f"{found[1]} {lines} {found[3]}"

    return REASONING.sub(numbered, text)


def resplit_records(train_file: Path) -> Iterator[dict[str, Any]]:
    """The geometry records of a train.jsonl, in order."""
    with train_file.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if record["image"].startswith(GEOMETRY_PREFIXES):
                turns = [turn | {"value": resplit(turn["value"])} for turn in record["conversations"]]
                yield record | {"conversations": turns}
