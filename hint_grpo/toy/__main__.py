"""`python -m hint_grpo.toy DIR`: writes the toy world and prints two commands to try with it."""

import argparse
from pathlib import Path

from hint_grpo.machine.errors import UserError, run_main
from hint_grpo.toy import NUM_TEST, NUM_TRAIN

# Printed at the end: a short training and an evaluation on this toy world.
NEXT = """
Next:
  torchrun --nproc_per_node=1 train_model.py --model_name_or_path {root}/Qwen2.5-VL-toy \\
      --data_path {root}/LLaVA-CoT-100k --dataset_name LLaVA-CoT-100k \\
      --num_groups 3 --num_generations 4 --max_completion_length 144 --max_steps 20 --learning_rate 1e-4 \\
      --output_dir output/toy
  python test_model.py --model_path {root}/Qwen2.5-VL-toy --data_path {root}/Geo170K \\
      --prompt_path {root}/geoqa_test_prompts.jsonl --scale 0.0 0.8 --max_new_tokens 144"""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.toy", description=__doc__)
    parser.add_argument("directory", type=Path, help="where to write; created if missing")
    parser.add_argument("--num_train", type=int, default=NUM_TRAIN, help=f"training records (default {NUM_TRAIN})")
    parser.add_argument("--num_test", type=int, default=NUM_TEST, help=f"test questions (default {NUM_TEST})")
    parser.add_argument("--seed", type=int, default=0, help="seed of the tasks and pictures (default 0)")
    parser.add_argument("--random_weights", action="store_true", help="models with random weights, which solve nothing")
    arguments = parser.parse_args()
    if arguments.num_train < 1 or arguments.num_test < 1:
        raise UserError("--num_train and --num_test must be at least 1")
    if arguments.directory.exists() and not arguments.directory.is_dir():
        raise UserError(f"{arguments.directory} is a file; give a directory for the toy world")
    return arguments


def main() -> None:
    arguments = parse()
    from hint_grpo.toy.world import build_world  # slow to import, so only after the flags are checked

    world = build_world(
        arguments.directory,
        num_train=arguments.num_train,
        num_test=arguments.num_test,
        warm=not arguments.random_weights,
        seed=arguments.seed,
    )
    for family, directory in world.models.items():
        size = sum(file.stat().st_size for file in directory.iterdir()) / 1e6
        print(f"{directory}: {family} in miniature, {size:.1f} MB")
    print(f"{world.train_data}: {arguments.num_train} geometry records and a few of other kinds")
    print(f"{world.test_prompts}: {arguments.num_test} questions, pictures under {world.test_data}")
    print(NEXT.format(root=arguments.directory))


if __name__ == "__main__":
    run_main(main)
