"""The check before a run, on hand-made samples and the toy's processors."""

import hint_grpo.machine.stack  # noqa: F401

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from PIL import Image

from hint_grpo.data.images import open_image
from hint_grpo.data.preflight import preflight, preflight_questions, share, without_skipped
from hint_grpo.data.preflight_report import PreflightReport
from hint_grpo.data.questions import Question
from hint_grpo.hints import LengthLimits, hint_at_level
from hint_grpo.policies.paper import Adaptive, Fixed, NoHints
from hint_grpo.prompts import begun_turn, evaluation_messages, question_with_hint, training_messages
from hint_grpo.rollout.prompting import PromptEncoder, TurnBuilder, Unusable
from hint_grpo.toy.models import toy_processor

ADAPTIVE = Adaptive(3)
NO_LIMITS = LengthLimits(None, 100, None)
STEPS = ["Row 1 has 1.", "Row 2 has 2.", "The total is 3."]


@pytest.fixture(scope="module", params=["Qwen2.5-VL", "Qwen2-VL"])
def processor(request: pytest.FixtureRequest) -> Any:
    return toy_processor(request.param)


@pytest.fixture
def sample(tmp_path: Path):
    Image.new("RGB", (90, 60), "white").save(tmp_path / "1.png")

    def make(line: int, **changes: object) -> dict[str, object]:
        made = {"image": str(tmp_path / "1.png"), "question": "How many red items?", "solution": "3"}
        return {"id": f"{line}", **made, "reasoning_steps": STEPS, "source": f"train.jsonl:{line}", **changes}

    return make


def processed(processor: Any, messages: list, image_file: str, begun: str) -> int:
    """Prompt tokens as a rollout has them: the processor with the picture's pixels, and the begun turn."""
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = processor(text=[text], images=[open_image(image_file)], return_tensors="pt")["input_ids"]
    return ids.shape[1] + len(processor.tokenizer(begun, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("injection", ["answer", "query"])
@pytest.mark.parametrize("size", [(90, 60), (157, 19), (700, 500)])
def test_prompt_tokens_equal_those_of_the_real_processor(processor, sample, injection, size) -> None:
    row = sample(1)
    Image.new("RGB", size, "white").save(row["image"])
    report = preflight([row], processor=processor, policy=ADAPTIVE, limits=NO_LIMITS, injection=injection)
    hint = "Row 1 has 1. Row 2 has 2."
    question, begun = (row["question"], begun_turn(hint))
    if injection == "query":
        question, begun = question_with_hint(question, hint), begun_turn("")
    assert report.longest_tokens == processed(processor, training_messages(question), row["image"], begun)
    assert report.longest_source == "train.jsonl:1"


def test_evaluation_prompts_equal_those_of_the_real_processor(processor, sample) -> None:
    image = sample(1)["image"]
    question = Question("a", image, "./1.png", "How many?", "3", "prompts.jsonl:1")
    report = preflight_questions([question], processor=processor, limits=LengthLimits(None, 64, 4096))
    messages = evaluation_messages("How many?", with_image=True)
    assert report.longest_tokens == processed(processor, messages, image, "")
    blind = preflight_questions([question], processor=processor, limits=NO_LIMITS, with_image=False)
    text = processor.apply_chat_template(
        evaluation_messages("How many?", with_image=False), tokenize=False, add_generation_prompt=True
    )
    assert blind.longest_tokens == len(processor.tokenizer(text)["input_ids"])
    assert "hint" not in "\n".join(report.lines())


def test_everything_unusable_is_listed_and_skipped(processor, sample, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"<html></html>")
    rows = [
        sample(1),
        sample(2, image=str(tmp_path / "none.png")),
        sample(3, image=str(tmp_path / "broken.png")),
        sample(4, question="What is <|image_pad|>?"),
        sample(5, question="How many red items? " * 400),
        sample(6, solution=" "),
        sample(7),
    ]
    limits = LengthLimits(max_prompt_length=1000, max_completion_length=100, context_length=5000)
    report = preflight(rows, processor=processor, policy=ADAPTIVE, limits=limits)
    assert report.skip == [1, 2, 3, 4, 5]
    assert not report.ok
    assert {reason: places.first[0].split(": ")[0] for reason, places in report.unusable.items()} == {
        "image: the file is missing": "train.jsonl:2",
        "image: an HTML page, not an image: a download that failed": "train.jsonl:3",
        "question or hint holds an image placeholder": "train.jsonl:4",
        "prompt is longer than --max_prompt_length 1000": "train.jsonl:5",
        "ground truth that no answer can match": "train.jsonl:6",
    }
    text = "\n".join(report.lines())
    assert "checked 7 samples" in text
    assert "5 cannot be used" in text
    assert "train.jsonl:3: image: an HTML page" in text
    kept = without_skipped(Dataset.from_list(rows), report)
    assert kept["id"][:] == ["1", "7"]


def test_levels_that_do_not_fit_are_counted_not_skipped(processor, sample) -> None:
    long = ["Row 1 has 1. " * 30, "Row 2 has 2. " * 30, "The total is 3."]
    row = sample(1, reasoning_steps=long)

    def tokens(level: int) -> int:
        hint = hint_at_level(long, level, 3)
        return processed(processor, training_messages(row["question"]), row["image"], begun_turn(hint))

    room = LengthLimits(8192, 100, tokens(1) + 100)
    report = preflight([row, sample(2)], processor=processor, policy=ADAPTIVE, limits=room)
    assert report.ok
    assert dict(report.skipped_levels) == {2: 1}
    assert report.lines()[-1].endswith(
        "level 2: 2 samples; the hint already holds the answer in 0.0 %; too long for the context: 1"
    )
    tight = LengthLimits(8192, 100, tokens(0) + 99)
    refused = preflight([row], processor=processor, policy=ADAPTIVE, limits=tight)
    assert refused.skip == [0]
    assert "do not fit the context" in next(iter(refused.unusable))


def test_answer_leaks_and_steps_are_counted(processor, sample) -> None:
    rows = [
        sample(1),  # level 2 gives rows 1 and 2: no 3 in them
        sample(2, reasoning_steps=["It is 3.", "So 3.", "3."]),  # leaks from level 1 on
        sample(3, reasoning_steps=["1.", "It is 3.", "3."]),  # leaks at level 2
        sample(4, reasoning_steps=["It is 3."]),  # a single step is never given
        sample(5, reasoning_steps=[]),
    ]
    report = preflight(rows, processor=processor, policy=ADAPTIVE, limits=NO_LIMITS)
    assert dict(report.leaks) == {1: 1, 2: 2}
    assert dict(report.by_steps) == {3: 3, 1: 1, 0: 1}
    text = "\n".join(report.lines())
    assert "samples by number of steps: 0: 1, 1: 1, 3: 3" in text
    assert dict(report.levels) == {0: 5, 1: 3, 2: 3}
    assert "level 0: 5 samples; the hint already holds the answer in 0.0 %" in text
    assert "level 1: 3 samples; the hint already holds the answer in 33.3 %" in text
    assert "level 2: 3 samples; the hint already holds the answer in 66.7 %" in text


def test_ground_truths_without_a_value_are_named(processor, sample) -> None:
    report = preflight(
        [sample(1, solution="a rhombus"), sample(2)], processor=processor, policy=ADAPTIVE, limits=NO_LIMITS
    )
    assert report.ok
    assert report.compared_as_text.first == ["train.jsonl:1: a rhombus"]


POLICIES = [
    *(Adaptive(levels) for levels in (1, 2, 3, 4)),
    Fixed(0.5),
    NoHints(),
]


@pytest.mark.parametrize("injection", ["answer", "query"])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{type(policy).__name__}{policy.num_levels}")
def test_training_and_this_check_count_levels_by_one_rule(processor, sample, policy, injection) -> None:
    """The check's counts are those of the turns that training builds, at a context that some hints do not fit."""
    rows = [sample(count, reasoning_steps=["Row 1 has 2 of them. " * 9] * count) for count in range(7)]
    begun = processed(processor, training_messages(rows[0]["question"]), rows[0]["image"], begun_turn(""))
    for room in (begun - 1, begun + 200, begun + 400, begun + 2000):
        limits = LengthLimits(begun + 300, 100, room + 100)
        report = preflight(rows, processor=processor, policy=policy, limits=limits, injection=injection)
        builder = TurnBuilder(PromptEncoder(processor), policy, injection, limits, run_seed=0)
        skipped, unusable, tried = 0, [], 0
        for position, row in enumerate(rows):
            try:
                turns, more = builder.turns(row, index=0, step=1)
            except Unusable:
                unusable.append(position)
            else:
                skipped, tried = skipped + more, tried + len(turns) + more
        assert report.skip == unusable
        assert report.skipped_levels.total() == skipped
        if not unusable:
            assert report.levels.total() == tried


def test_a_level_that_repeats_the_hint_below_is_no_level_here_either(processor, sample) -> None:
    """Two steps at M = 4 are 0, 0, 1, 1: levels 0 and 2. Level 3 would be the same prompt again."""
    row = sample(1, reasoning_steps=["Row 1 has 3. " * 40, "So 3."])
    report = preflight([row], processor=processor, policy=Adaptive(4), limits=NO_LIMITS)
    assert dict(report.levels) == {0: 1, 2: 1}
    assert dict(report.leaks) == {2: 1}
    tight = LengthLimits(None, 100, report.longest_tokens + 99)
    report = preflight([row], processor=processor, policy=Adaptive(4), limits=tight)
    assert dict(report.skipped_levels) == {2: 1}


def test_shares_checked_side_by_side_make_the_report_of_all(processor, sample, tmp_path: Path) -> None:
    bad = {1: {"image": str(tmp_path / "none.png")}, 6: {"question": "How? " * 900}, 8: {"solution": "a rhombus"}}
    rows = [sample(line, **bad.get(line, {})) for line in range(11)]
    limits = LengthLimits(1000, 100, 5000)
    checked = {"processor": processor, "policy": ADAPTIVE, "limits": limits}
    whole = preflight(rows, **checked)
    for ranks in (1, 2, 3, 16):
        parts = [preflight([rows[i] for i in share(len(rows), rank, ranks)], **checked) for rank in range(ranks)]
        merged = PreflightReport.merged(parts)
        merged.seconds = whole.seconds
        assert merged == whole
    assert [place.partition(": ")[0] for place in whole.unusable["image: the file is missing"].first] == [
        "train.jsonl:1"
    ]


def test_more_samples_than_one_batch_keep_their_positions(processor, sample, tmp_path: Path) -> None:
    bad = {0, 255, 256, 600}
    rows = (sample(n, **({"image": str(tmp_path / "none.png")} if n in bad else {})) for n in range(601))
    report = preflight(rows, processor=processor, policy=NoHints(), limits=NO_LIMITS, workers=2)
    assert set(report.skip) == bad
    assert report.checked == 601
