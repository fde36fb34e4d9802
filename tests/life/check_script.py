"""Run by torchrun: --check_data on several ranks. Each writes the pictures that it opened, and what it will train on."""

import hint_grpo.machine.stack  # noqa: F401

import json
import os
import sys
from pathlib import Path

from hint_grpo.data import picture_processing
from hint_grpo.training import run
from hint_grpo.training.command_line import parse


def main(report: Path) -> None:
    script, training, model = parse(sys.argv[2:])
    processor = run.load_processor(model, training)
    dataset, found = run.load_data(script, training, processor)
    opened, open_image = [], picture_processing.open_image

    def noted(path, **options):
        opened.append(path)
        return open_image(path, **options)

    picture_processing.open_image = noted
    code, usable = run.check_data(training, model, dataset, found, processor)
    seen = {"opened": opened, "code": code, "usable": usable["id"][:]}
    report.with_suffix(f".{os.environ['RANK']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
