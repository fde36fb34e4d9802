"""Run by torchrun: --check_data on several ranks. Each writes the pictures that it opened, and what it will train on."""

import hint_grpo.stack  # noqa: F401

import json
import os
import sys
from pathlib import Path

from hint_grpo import training_run
from hint_grpo.command_line import parse
from hint_grpo.data import pictures


def main(report: Path) -> None:
    script, training, model = parse(sys.argv[2:])
    processor = training_run.load_processor(model, training)
    dataset, found = training_run.load_data(script, training, processor)
    opened, open_image = [], pictures.open_image

    def noted(path, **options):
        opened.append(path)
        return open_image(path, **options)

    pictures.open_image = noted
    code, usable = training_run.check_data(training, model, dataset, found, processor)
    seen = {"opened": opened, "code": code, "usable": usable["id"][:]}
    report.with_suffix(f".{os.environ['RANK']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
