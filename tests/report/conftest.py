"""A training run's folder by hand: two prompts per step with known rewards, tiny pictures, and the files beside them."""

import gzip
import json
from pathlib import Path

import pytest
from made_runs import CARD, CONFIG, record, row, write_lines
from PIL import Image


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
