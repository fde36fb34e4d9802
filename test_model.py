"""Evaluates a vision-language model, with text-bias calibration: `python test_model.py --help`, README.md."""

from hint_grpo.evaluation.cli import command

if __name__ == "__main__":
    command()
