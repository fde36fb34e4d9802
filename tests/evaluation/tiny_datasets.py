"""Tiny data sets with the columns and types of the real ones, written by `datasets` as its users write them.

Every question and answer here is made up. `rows` of a benchmark can be changed or added to by a test.
"""

import io
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

TEXT, WHOLE, PICTURE = Value("string"), Value("int64"), Image()


def picture(colour: str, format: str = "PNG") -> dict[str, Any]:
    buffer = io.BytesIO()
    Pillow.new("RGB", (84, 84), colour).save(buffer, format)
    return {"bytes": buffer.getvalue(), "path": f"{colour}.{format.lower()}"}


FEATURES: dict[str, dict[str, Any]] = {
    "mathvista": {
        **dict.fromkeys(("pid", "question", "image"), TEXT),
        "decoded_image": PICTURE,
        "choices": List(TEXT),
        "unit": TEXT,
        "precision": Value("float64"),
        **dict.fromkeys(("answer", "question_type", "answer_type"), TEXT),
        "metadata": {"category": TEXT, "grade": TEXT, "img_height": WHOLE, "skills": List(TEXT)},
        "query": TEXT,
    },
    "mmstar": {
        "index": WHOLE,
        "question": TEXT,
        "image": PICTURE,
        **dict.fromkeys(("answer", "category", "l2_category"), TEXT),
        "meta_info": {"source": TEXT, "split": TEXT, "image_path": TEXT},
    },
    "mathverse": {
        **dict.fromkeys(("sample_index", "problem_index", "problem_version", "question"), TEXT),
        "image": PICTURE,
        **dict.fromkeys(("answer", "question_type"), TEXT),
        "metadata": {"split": TEXT, "source": TEXT, "subject": TEXT, "subfield": TEXT},
        **dict.fromkeys(("query_wo", "query_cot", "question_for_eval"), TEXT),
    },
    "mathvision": {
        **dict.fromkeys(("id", "question"), TEXT),
        "options": List(TEXT),
        "image": TEXT,
        "decoded_image": PICTURE,
        **dict.fromkeys(("answer", "solution"), TEXT),
        "level": WHOLE,
        "subject": TEXT,
    },
    "mmbench": {
        "index": WHOLE,
        **dict.fromkeys(("question", "hint", "answer", "A", "B", "C", "D", "category"), TEXT),
        "image": PICTURE,
        **dict.fromkeys(("source", "L2-category", "comment", "split"), TEXT),
    },
    "mmvet": {
        "question_id": TEXT,
        "image": PICTURE,
        **dict.fromkeys(("question", "answer", "image_source", "capability"), TEXT),
    },
    "ai2d": {"question": TEXT, "options": List(TEXT), "answer": TEXT, "image": PICTURE},
    "hallusionbench": {
        **dict.fromkeys(("category", "subcategory", "visual_input", "set_id", "figure_id", "sample_note"), TEXT),
        **dict.fromkeys(("question_id", "question", "gt_answer_details", "gt_answer", "filename"), TEXT),
        "image": PICTURE,
    },
}

CHOICES = "Choices:\nA:40°\nB:50°\nC:60°\nD:70°"
ROWS: dict[str, list[dict[str, Any]]] = {
    "mathvista": [
        {
            "pid": "1",
            "question": "How long is the pencil?",
            "query": "Hint: Give a number with one decimal place.\nQuestion: How long is the pencil? (Unit: cm)",
            "decoded_image": picture("red"),
            "unit": "cm",
            "precision": 1.0,
            "answer": "7.2",
            "question_type": "free_form",
            "answer_type": "float",
        },
        {
            "pid": "2",
            "question": "Which bar is the tallest?",
            "query": "Hint: Give the letter.\nQuestion: Which bar is the tallest?\nChoices:\n(A) teal\n(B) pink\n(C) grey",
            "decoded_image": picture("blue", "JPEG"),
            "choices": ["teal", "pink", "grey"],
            "answer": "pink",
            "question_type": "multi_choice",
            "answer_type": "text",
        },
        {
            "pid": "3",
            "question": "How many birds?",
            "query": "Hint: Give a whole number.\nQuestion: How many birds?",
            "decoded_image": picture("red"),
            "answer": "12",
            "question_type": "free_form",
            "answer_type": "integer",
        },
    ],
    "mmstar": [
        {
            "index": 0,
            "question": "What lies on the table?\nOptions: A: a fork, two cups, B: a hat., C: a map, D: nothing",
            "image": picture("green"),
            "answer": "B",
            "category": "coarse perception",
        },
        {
            "index": 1,
            "question": "Which is the largest angle?\nOptions: A: x, B: y, C: z, D: all are equal",
            "image": picture("teal"),
            "answer": "D",
            "category": "math",
        },
    ],
    "mathverse": [
        {
            "sample_index": "1",
            "problem_index": "1",
            "problem_version": "Text Dominant",
            "question": f"Lines m and n are parallel. How large is angle 2?\n{CHOICES}",
            "query_cot": f"Reason first, then give the letter.\nQuestion: How large is angle 2?\n{CHOICES}",
            "question_for_eval": f"How large is angle 2?\n{CHOICES}",
            "image": picture("navy"),
            "answer": "C",
            "question_type": "multi-choice",
        },
        {
            "sample_index": "5",
            "problem_index": "1",
            "problem_version": "Vision Only",
            "question": "",
            "query_cot": "Reason first, then give the letter of the question in the picture.",
            "question_for_eval": f"How large is angle 2?\n{CHOICES}",
            "image": picture("black"),
            "answer": "C",
            "question_type": "multi-choice",
        },
        {
            "sample_index": "6",
            "problem_index": "2",
            "problem_version": "Text Dominant",
            "question": "How long is AB?",
            "query_cot": "Reason first, then give the value.\nQuestion: How long is AB?",
            "question_for_eval": "How long is AB?",
            "image": picture("navy"),
            "answer": "2\\sqrt{3}",
            "question_type": "free-form",
        },
    ],
    "mathvision": [
        {
            "id": "4",
            "question": "Which shape comes next?\n<image1>",
            "options": ["A", "B", "C", "D", "E"],
            "image": "images/4.jpg",
            "decoded_image": picture("olive", "JPEG"),
            "answer": "D",
            "level": 2,
            "subject": "logic",
        },
        {
            "id": "5",
            "question": "<image1> How many coins make \\$2?",
            "options": [],
            "decoded_image": picture("gold"),
            "answer": "8",
            "level": 1,
            "subject": "arithmetic",
        },
        {
            "id": "6",
            "question": "What share is grey? <image1>",
            "options": ["\\frac{1}{2}", "\\frac{1}{3}", "\\frac{1}{4}"],
            "decoded_image": picture("gray"),
            "answer": "B",
            "level": 1,
            "subject": "arithmetic",
        },
    ],
    "mmbench": [
        {
            "index": 7,
            "question": "What is this?",
            "hint": "It hangs on a wall.",
            "answer": "A",
            "A": "a clock",
            "B": "a door",
            "C": "a lamp",
            "D": "a shelf",
            "category": "object_localization",
            "image": picture("white"),
        },
        {
            "index": 8,
            "question": "Is it day?",
            "hint": "nan",
            "answer": "B",
            "A": "yes",
            "B": "no",
            "C": "nan",
            "category": "image_scene",
            "image": picture("black"),
        },
        {
            "index": 1_000_007,
            "question": "What is this?",
            "hint": "It hangs on a wall.",
            "answer": "D",
            "A": "a door",
            "B": "a lamp",
            "C": "a shelf",
            "D": "a clock",
            "category": "object_localization",
            "image": picture("white"),
        },
    ],
    "mmvet": [
        {
            "question_id": "v1_0",
            "image": picture("red"),
            "question": "What is x?",
            "answer": "-1<AND>-5",
            "capability": "ocr,math",
        },
        {
            "question_id": "v1_1",
            "image": picture("blue", "WEBP"),
            "question": "Describe the scene.",
            "answer": "A quiet harbour at dusk.",
            "capability": "rec,gen",
        },
    ],
    "ai2d": [
        {
            "question": "What eats grass?",
            "options": ["owl", "fox", "hare", "oak"],
            "answer": "2",
            "image": picture("red"),
        },
        {"question": "Which is a root?", "options": ["K", "L"], "answer": "0", "image": picture("lime")},
    ],
    "hallusionbench": [
        {
            "category": "VD",
            "subcategory": "chart",
            "visual_input": "1",
            "set_id": "0",
            "figure_id": "1",
            "question_id": "0",
            "question": "Is the red line above the blue line?",
            "gt_answer": "1",
            "filename": "./VD/chart/0_1.png",
            "image": picture("red"),
        },
        {
            "category": "VD",
            "subcategory": "chart",
            "visual_input": "2",
            "set_id": "0",
            "figure_id": "2",
            "question_id": "0",
            "question": "Is the red line above the blue line?",
            "gt_answer": "0",
            "image": picture("blue"),
        },
        {
            "category": "VS",
            "subcategory": "map",
            "visual_input": "0",
            "set_id": "3",
            "figure_id": "0",
            "question_id": "1",
            "question": "Does Elba border Corsica?",
            "gt_answer": "0",
            "image": None,
        },
    ],
}

# Where the real copies keep their files.
FILES = {
    "mathvista": "data/testmini-00000-of-00001-725687bf7a18d64b.parquet",
    "mmstar": "mmstar.parquet",
    "mathverse": "testmini.parquet",
    "mathvision": "data/test-00000-of-00001.parquet",
    "mmbench": "en/dev-00000-of-00001.parquet",
    "mmvet": "data/test-00000-of-00001.parquet",
    "ai2d": "data/test-00000-of-00001.parquet",
    "hallusionbench": "data/image-00000-of-00001.parquet",
}


def table(name: str, rows: list[dict[str, Any]] | None = None, without: str | None = None) -> Dataset:
    """The data set; columns that a row leaves out are null, and the column `without` is missing."""
    features = {column: kind for column, kind in FEATURES[name].items() if column != without}
    filled = [{column: row.get(column) for column in features} for row in (ROWS[name] if rows is None else rows)]
    return Dataset.from_list(filled, features=Features(features))


def write_copy(name: str, folder: Path, rows: list[dict[str, Any]] | None = None, without: str | None = None) -> Path:
    """A local copy as `hf download` leaves it; returns its folder."""
    file = folder / FILES[name]
    file.parent.mkdir(parents=True, exist_ok=True)
    table(name, rows, without).to_parquet(file)
    return folder
