"""`python -m hint_grpo.training.merge ADAPTER OUTPUT`: merges a LoRA adapter into its model, for test_model.py and vLLM.

ADAPTER is the output folder (or a checkpoint) of a run with `--use_peft true`.
"""

import hint_grpo.machine.stack  # noqa: F401

import argparse
from pathlib import Path

from peft import PeftConfig, PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from hint_grpo.machine.errors import UserError, run_main


def merge(adapter: Path, output: Path) -> None:
    """Writes the merged model, in the type its base is stored in, and its processor to `output`."""
    if not (adapter / "adapter_config.json").is_file():
        raise UserError(f"{adapter} holds no adapter_config.json: give the output folder of a run with --use_peft true")
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty: name a new folder for the merged model")
    base = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.save_pretrained(output)
    AutoProcessor.from_pretrained(adapter).save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.training.merge", description=__doc__.splitlines()[0])
    parser.add_argument("adapter", type=Path, help="output folder or checkpoint of a run with --use_peft true")
    parser.add_argument("output", type=Path, help="new folder for the merged model")
    options = parser.parse_args()
    merge(options.adapter, options.output)
    print(f"saved to {options.output}; test_model.py --model_path {options.output} evaluates it")


if __name__ == "__main__":
    run_main(main)
