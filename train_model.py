"""Trains a vision-language model with Hint-GRPO: `python train_model.py --help`, README.md."""

from hint_grpo.training.command_line import command

if __name__ == "__main__":
    command()
