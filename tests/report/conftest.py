"""Folders by hand: a training run with two prompts per step and known rewards, an evaluation; with tiny pictures."""

import gzip
import json
from pathlib import Path

import pytest
from made_runs import CARD, CONFIG, record, row, write_lines
from PIL import Image

from hint_grpo.evaluation.results import Result, summarise, write_results, write_summary


@pytest.fixture
def make_run(tmp_path):
    """make_run(name, steps=12, ...) -> a run's folder. At each step `easy` is right without a hint, and `hard` at level 1, but
    never at a step that is divisible by 4."""

    def make(name="run", steps=12, *, rollouts=True, injection="answer", finished=True, hard_changes=None) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        pictures = {}
        for sample, colour in (("easy", "red"), ("hard", "blue")):
            pictures[sample] = folder / f"{sample}.png"
            Image.new("RGB", (448, 300), colour).save(pictures[sample])
        records, rows, log = [], [], []
        for step in range(1, steps + 1):
            solved = step % 4 != 0
            first = [1.0, 0.0] if solved else [0.0, 0.0]
            records.append(record(step, "easy", {"0": [1.0, 0.0]}, 0))
            records.append(record(step, "hard", {"0": [0.0, 0.0], "1": first}, 1 if solved else 0))
            rows += [row(step, "easy", 0, place, image=pictures["easy"], right=place == 0) for place in (0, 1)]
            for level in (0, 1):
                for place in (0, 1):
                    right, trained = level == 1 and place == 0 and solved, level == int(solved)
                    changes = (hard_changes or {}) if level == 1 else {}
                    rows.append(
                        row(step, "hard", level, place, image=pictures["hard"], right=right, trained=trained, **changes)
                    )
            log.append({"step": step, "loss": 0.1, "time/generate": 2.0, "time/score": 0.5, "time/update": 1.0})
            log[-1]["sampling/sampling_logp_difference/mean"] = 0.01
        log.append({"step": steps, "train_runtime": 4000.0})
        write_lines(folder / "hint_ledger.jsonl", records)
        write_lines(folder / "log.jsonl", log)
        (folder / "train_config.yaml").write_text(CONFIG.format(injection=injection))
        (folder / "README.md").write_text(CARD)
        if finished:
            (folder / "trainer_state.json").write_text(json.dumps({"max_steps": steps, "global_step": steps}))
        if rollouts:
            (folder / "rollouts").mkdir()
            with gzip.open(folder / "rollouts" / "steps-000001.jsonl.gz", "wt") as file:
                file.writelines(json.dumps(one) + "\n" for one in rows)
        return folder

    return make


@pytest.fixture
def make_scale(tmp_path):
    """make_scale("eval", 0.8, "rwp") -> an output folder with this scale: each letter is an answer (right, wrong, right by the
    paper's protocol alone)."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (300, 448), "green").save(data / "images" / f"{number}.png")

    def make(
        name, scale, letters, *, no_image=False, completion="so</think><answer>{}</answer>", question="What is x?"
    ) -> Path:
        results = []
        for number, letter in enumerate(letters):
            answer = "65°" if letter == "r" else "60°"
            path = f"./Geo170K/images/{number}.png"
            results.append(
                Result(
                    id=path,
                    image_path=path,
                    question=question,
                    ground_truth="65°",
                    completion=completion.format(answer),
                    answer=answer,
                    correct_paper=letter in "rp",
                    correct_strict=letter == "r",
                    num_tokens=9,
                    finish_reason="length" if letter == "w" else "stop",
                )
            )
        folder = tmp_path / name / f"scale-{scale}{'-no_image' if no_image else ''}"
        folder.mkdir(parents=True)
        write_results(folder / "results.jsonl", results)
        made_with = {"model_path": "/models/Toy-VL", "data_path": str(data), "versions": {"torch": "2.0"}}
        made_with["machine"] = "Toy CPU, 2 cores"
        write_summary(folder, summarise(results, name=folder.name, scale=scale, no_image=no_image, made_with=made_with))
        return folder.parent

    return make
