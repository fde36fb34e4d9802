"""completions.json: {"v1_0": completion, ...}, what the official evaluator of a benchmark that is not judged here takes.

That is MM-Vet, whose evaluator has GPT-4 grade every completion. Written whole, thinking included, as the model gave it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from hint_grpo.evaluation.results import Result, replace_file

COMPLETIONS_FILE = "completions.json"


def write_completions(folder: Path, results: Sequence[Result]) -> None:
    """Writes the file beside results.jsonl where the answers are left to another's evaluator."""
    given = {result.id: result.completion for result in results if result.judging.judge == "none"}
    if given:
        replace_file(folder / COMPLETIONS_FILE, json.dumps(given, ensure_ascii=False, indent=1) + "\n")
