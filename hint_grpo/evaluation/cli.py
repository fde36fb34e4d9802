"""The flags of test_model.py. Light to import: `--help` must answer at once."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from hint_grpo.calibration.decoder import BACKENDS, DTYPES, PICTURE_PROCESSING
from hint_grpo.evaluation.datasets.registry import ADAPTERS
from hint_grpo.evaluation.settings import (
    DEFAULT,
    PRESETS,
    PROTOCOLS,
    EvaluationSettings,
    check_processes,
    default_output,
)
from hint_grpo.hub import ANY_WEIGHTS, check_model_files, download_model, find_model, is_folder
from hint_grpo.machine.errors import UserError, did_you_mean
from hint_grpo.machine.hardware import check_gpus, count_gpus
from hint_grpo.machine.output_folder import check_output

DESCRIPTION = "Evaluate a model on GeoQA, any question file of its form, or a benchmark, with text-bias calibration."
EPILOG = """\
The last line on stdout is `Accuracy: 46.68%`: the paper's protocol, at the last scale given (MM-Vet, which is judged
elsewhere: the file for its evaluator). An interrupted run goes
on where it stopped when the same command is run again. Two runs are compared by
`python -m hint_grpo.evaluation compare RUN_A RUN_B`."""
HELP_HINT = "(python test_model.py --help lists the flags)"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} {HELP_HINT}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, after a check that the paths this command needs are given at all."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [name[2:] for action in parser._actions for name in action.option_strings if name.startswith("--")]
        word = next((word for word in unknown if word.startswith("--")), unknown[0]).partition("=")[0]
        suggestion = did_you_mean(word[2:], known, "--") if word.startswith("--") else ""
        raise UserError(f"unknown {'flag ' if word.startswith('--') else ''}{word}{suggestion} {HELP_HINT}")
    # Read twice: a preset's values are defaults, so that every flag that is given wins.
    parser.set_defaults(**PRESETS[options.preset])
    options = parser.parse_args(arguments)
    if options.rescore:
        if options.output_dir is None and (
            options.model_path is None or not (options.prompt_path or options.benchmark)
        ):
            raise UserError("--rescore needs --output_dir, the folder whose answers are to be scored again")
        return options
    for name in ("model_path",) if options.benchmark else ("model_path", "data_path", "prompt_path"):
        if getattr(options, name) is None:
            raise UserError(f"--{name} is missing {HELP_HINT}")
    return options


def settings_from(options: argparse.Namespace) -> EvaluationSettings:
    return EvaluationSettings(
        model_path=options.model_path,
        data_path=options.data_path,
        prompt_path=options.prompt_path,
        benchmark=options.benchmark,
        scales=tuple(options.scale or (0.0,)),
        output_dir=options.output_dir,
        backend=options.backend,
        batch_size=options.batch_size,
        gpu_ids=options.gpu_ids,
        num_processes=options.num_processes,
        max_new_tokens=options.max_new_tokens,
        max_pixels=options.max_pixels,
        picture_processing=options.picture_processing,
        dtype=options.dtype,
        gpu_memory_utilization=options.gpu_memory_utilization,
        limit=options.limit,
        no_image=options.no_image,
        preset=options.preset,
        protocol=options.protocol or PROTOCOLS[0],
        skip_bad=options.skip_bad,
    )


def check(settings: EvaluationSettings) -> None:
    """The mistakes that show without torch: places, the model's files, GPUs."""
    name = str(settings.model_path)
    weights = ANY_WEIGHTS if is_folder(name) else ()
    check_model_files(find_model(name, "--model_path"), f"--model_path {name}", weights=weights)
    if settings.prompt_path is not None and not settings.prompt_path.is_file():
        raise UserError(f"{settings.prompt_path} is not there: give the question file (--prompt_path)")
    if settings.data_path is not None and not settings.data_path.exists():
        raise UserError(f"--data_path {settings.data_path} does not exist")
    check_output(str(settings.output))
    check_gpus()
    check_processes(settings.gpu_ids, settings.num_processes, count_gpus())


def with_local_model(settings: EvaluationSettings) -> EvaluationSettings:
    """The settings with the model's folder for its Hub name, downloaded if it must be; the output folder keeps the name."""
    name = str(settings.model_path)
    if is_folder(name):
        return settings
    return replace(settings, output_dir=settings.output, model_path=download_model(name, "--model_path"))


def output_folder(options: argparse.Namespace) -> Path:
    """The folder of a --rescore: no data and, with --output_dir, no model is needed for it."""
    return options.output_dir or default_output(options.model_path, options.prompt_path, options.benchmark)


def _gpu_ids(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of GPU numbers such as 0,1,2") from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="test_model.py",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_what(parser.add_argument_group("what to evaluate"))
    _add_how(parser.add_argument_group("how to decode"))
    _add_modes(parser.add_argument_group("instead of a run"))
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model_path", type=Path, help="a vision-language model's folder, or its name on the Hub (README, Models)"
    )
    group.add_argument(
        "--data_path",
        type=Path,
        help="folder of the pictures, such as /PATH/TO/Geo170K/; of a benchmark: a local copy of its data set "
        "(without it: the Hub's)",
    )
    group.add_argument("--prompt_path", type=Path, help="question file, such as eval/prompts/geoqa_test_prompts.jsonl")
    group.add_argument(
        "--benchmark", choices=tuple(ADAPTERS), help="instead of a question file: one of these (docs/benchmarks.md)"
    )
    group.add_argument("--output_dir", type=Path, help="default: output/eval/MODEL/QUESTION_FILE (or .../BENCHMARK)")
    group.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    group.add_argument("--no_image", action="store_true", help="ask without the pictures (how far text alone gets)")
    group.add_argument(
        "--preset",
        default=DEFAULT,
        choices=tuple(PRESETS),
        help="whose evaluation, where no flag says otherwise: released is the authors' code (docs/faithfulness.md)",
    )
    group.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="what `Accuracy:` counts; released_evaluation compares the completion with the ground truth, paper (the "
        "default) the other way round",
    )
    group.add_argument("--skip_bad", action="store_true", help="leave unusable questions out, counted, and go on")


def _add_how(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--scale", type=float, nargs="+", metavar="S", help="calibration scales, in one model load (default 0.0: none)"
    )
    group.add_argument("--backend", default="auto", choices=BACKENDS, help="auto: vLLM where it is installed, else hf")
    group.add_argument(
        "--batch_size",
        type=int,
        metavar="N",
        help="questions decoded at a time, per process (default: 10 for hf; for vLLM 128 on a GPU, 32 without)",
    )
    group.add_argument(
        "--gpu_ids", type=_gpu_ids, metavar="0,1", help="one process per GPU named (default: all visible)"
    )
    group.add_argument("--num_processes", type=int, metavar="N", help="without a GPU: decoding processes (default 1)")
    group.add_argument("--max_new_tokens", type=int, default=1024, metavar="N", help="default 1024")
    group.add_argument("--max_pixels", type=int, metavar="N", help="pictures are shrunk to at most this many pixels")
    group.add_argument(
        "--picture_processing",
        default="processor",
        choices=PICTURE_PROCESSING,
        help="qwen_vl_utils: that library resizes pictures ahead of the processor, as in the authors' code (Qwen's models)",
    )
    group.add_argument(
        "--gpu_memory_utilization", type=float, default=0.9, metavar="F", help="vLLM's share of each GPU (default 0.9)"
    )
    group.add_argument("--dtype", default="auto", choices=DTYPES, help="auto: bfloat16 on a GPU, float32 without")


def _add_modes(group: argparse._ArgumentGroup) -> None:
    modes = group.add_mutually_exclusive_group()
    modes.add_argument("--check_data", action="store_true", help="check questions and pictures, decode nothing")
    modes.add_argument("--rescore", action="store_true", help="score the stored answers again, without a model")
