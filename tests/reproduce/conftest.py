"""An experiment on folders that the tests write themselves."""

import json
from pathlib import Path

import pytest

from eval.reproduce.recipes import Settings
from eval.reproduce.steps import Evaluation, Experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """Four questions, a model of one file; nothing is trained or evaluated."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "data").mkdir()
    (tmp_path / "questions.jsonl").write_text("{}\n{}\n\n{}\n{}\n")
    return Experiment(
        model_path=tmp_path / "model",
        data_path=tmp_path / "data",
        eval_data=tmp_path / "data",
        prompt_path=tmp_path / "questions.jsonl",
        output_dir=tmp_path / "out",
        settings=Settings({"max_steps": 4, "num_generations": 4}, {"max_new_tokens": 96}),
        overrides={},
    )


@pytest.fixture
def write_training():
    """As train_model.py leaves a run after `step` steps, whole (`finished`) or with its checkpoints alone."""

    def write(experiment: Experiment, run: str, step: int, *, checkpoints: tuple[int, ...] = (), finished: bool = True):
        folder = experiment.training_folder(run)
        places = [(folder / f"checkpoint-{number}", number) for number in checkpoints]
        for place, number in [*places, *([(folder, step)] if finished else [])]:
            place.mkdir(parents=True, exist_ok=True)
            (place / "model.safetensors").write_bytes(b"weights")
            (place / "trainer_state.json").write_text(json.dumps({"global_step": number}))
        return folder

    return write


@pytest.fixture
def write_summary():
    """As test_model.py leaves an evaluation in which `paper` and `strict` of 4 questions were right."""

    def write(evaluation: Evaluation, scale: float, paper: int, strict: int, **changes: object) -> Path:
        folder = evaluation.settings.scale_folder(scale)
        folder.mkdir(parents=True)
        summary = {
            "name": folder.name,
            "scale": scale,
            "no_image": evaluation.no_image,
            "num_questions": 4,
            "num_skipped": 0,
            "judged": True,
            "num_correct_paper": paper,
            "num_correct_strict": strict,
            "accuracy_paper": paper / 4,
            "interval_paper": [0.1, 0.9],
            "accuracy_strict": strict / 4,
            "interval_strict": [0.2, 0.8],
            "num_tokens": 40,
            "tokens_per_second": None,
            "num_token_limit": 0,
            "num_missing_answer": 0,
            "paper_only": [],
            "strict_only": [],
            "breakdown": {},
            "decoding": {"max_new_tokens": 96},
            "made_with": {
                "model_path": str(evaluation.weights),
                "prompt_path": str(evaluation.experiment.prompt_path),
            },
        }
        (folder / "summary.json").write_text(json.dumps(summary | changes))
        return folder / "summary.json"

    return write
