"""Merges a LoRA adapter into its base model, for test_model.py and vLLM: python -m hint_grpo.training.merge ADAPTER OUTPUT.

ADAPTER is the output folder, or a checkpoint, of a run with `--use_peft true`.
"""

import argparse
from pathlib import Path

from hint_grpo.machine.errors import UserError, run_main


def merge(adapter: Path, output: Path) -> None:
    """Writes the merged model, in the dtype that its base is stored in, and its processor to the new folder `output`.

    Raises UserError if `adapter` is not an adapter's folder or `output` is not empty.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise UserError(f"{adapter} has no adapter_config.json: give the output folder of a run with --use_peft true")
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty: give a new folder for the merged model")

    # After the checks, because these imports take seconds.
    import hint_grpo.machine.stack  # noqa: F401

    from peft import PeftConfig, PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    base = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.save_pretrained(output)
    AutoProcessor.from_pretrained(adapter).save_pretrained(output)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hint_grpo.training.merge", description=__doc__.partition(":")[0])
    parser.add_argument("adapter", type=Path, help="output folder or checkpoint of a run with --use_peft true")
    parser.add_argument("output", type=Path, help="new folder for the merged model")
    options = parser.parse_args()
    merge(options.adapter, options.output)
    print(f"saved to {options.output}; test_model.py --model_path {options.output} evaluates it")


if __name__ == "__main__":
    run_main(main)
