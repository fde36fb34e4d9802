"""The evaluation command: flags, the checks that need no model, and `main`, which test_model.py and hint-grpo-eval run.

Light to import, so that `--help` and errors in flags do not wait for torch. (`python -m hint_grpo.evaluation compare`, in
`__main__.py`, compares two runs that this command has finished.)
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from hint_grpo.calibration.decoder import BACKENDS, DTYPES, PICTURE_PROCESSING
from hint_grpo.evaluation.datasets.registry import ADAPTERS, adapter_of
from hint_grpo.evaluation.settings import (
    ACCURACY_PROTOCOLS,
    DEFAULT,
    PRESETS,
    EvaluationSettings,
    check_processes,
    default_output,
)
from hint_grpo.hub import SAFETENSORS, check_model_files, download_model, find_model, is_folder
from hint_grpo.machine.errors import UserError, did_you_mean, program, run_main
from hint_grpo.machine.files import check_output
from hint_grpo.machine.hardware import check_gpus, count_gpus
from hint_grpo.plugins import is_reference

DESCRIPTION = "Evaluate a model on GeoQA, any question file of its form, or a benchmark, with text-bias calibration."
EPILOG = """\
The last line on stdout is `Accuracy: 46.68%`, by the paper's protocol and at the last scale given (for MM-Vet, which is
judged elsewhere, it names the file for its evaluator). To resume an interrupted run, run the same command again. To compare
two runs: `python -m hint_grpo.evaluation compare RUN_A RUN_B`."""
HELP_HINT = f"({program('python test_model.py', 'hint-grpo-eval')} --help lists the flags)"


# ----------------------------------------------------------------------------------------------------
# Parsing


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as UserError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} {HELP_HINT}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed flags. Raises UserError for an unknown flag or value, and for a missing path that this command needs."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [name[2:] for action in parser._actions for name in action.option_strings if name.startswith("--")]
        word = next((word for word in unknown if word.startswith("--")), unknown[0]).partition("=")[0]
        suggestion = did_you_mean(word[2:], known, "--") if word.startswith("--") else ""
        raise UserError(f"unknown {'flag ' if word.startswith('--') else ''}{word}{suggestion} {HELP_HINT}")
    # Parse again with the preset's values as defaults, so that a flag that is given has priority.
    parser.set_defaults(**PRESETS[options.preset])
    options = parser.parse_args(arguments)
    if options.rescore:
        if options.output_dir is None and (
            options.model_path is None or not (options.prompt_path or options.benchmark)
        ):
            raise UserError("--rescore needs --output_dir, the folder of the answers to score again")
        return options
    for name in ("model_path",) if options.benchmark else ("model_path", "data_path", "prompt_path"):
        if getattr(options, name) is None:
            raise UserError(f"--{name} is missing {HELP_HINT}")
    return options


def settings_from(options: argparse.Namespace) -> EvaluationSettings:
    """The settings of the run; raises UserError for a value that cannot work."""
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
        protocol=options.scorer or options.protocol or ACCURACY_PROTOCOLS[0],
        skip_bad=options.skip_bad,
    )


# ----------------------------------------------------------------------------------------------------
# Checks, and the model's folder


def check(settings: EvaluationSettings) -> None:
    """UserError for a mistake that can be found without torch: paths, the model's files, GPUs."""
    name = str(settings.model_path)
    weights = SAFETENSORS if is_folder(name) else ()
    check_model_files(find_model(name, "--model_path"), f"--model_path {name}", weights=weights)
    if settings.prompt_path is not None and not settings.prompt_path.is_file():
        raise UserError(f"--prompt_path {settings.prompt_path} does not exist: give a question file")
    if settings.data_path is not None and not settings.data_path.exists():
        raise UserError(f"--data_path {settings.data_path} does not exist")
    check_output(str(settings.output))
    check_gpus()
    check_processes(settings.gpu_ids, settings.num_processes, count_gpus())


def with_local_model(settings: EvaluationSettings) -> EvaluationSettings:
    """The settings with a Hub name replaced by the model's folder, downloaded if necessary; the output folder keeps the name."""
    name = str(settings.model_path)
    if is_folder(name):
        return settings
    return replace(settings, output_dir=settings.output, model_path=download_model(name, "--model_path"))


def output_folder(options: argparse.Namespace) -> Path:
    """The folder for --rescore, which needs no data and, with --output_dir, no model."""
    return options.output_dir or default_output(options.model_path, options.prompt_path, options.benchmark)


# ----------------------------------------------------------------------------------------------------
# The flags


def _gpu_ids(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of GPU numbers such as 0,1,2") from None


def _benchmark(text: str) -> str:
    adapter_of(text)  # raises UserError
    return text


def _reference(text: str) -> str:
    if not is_reference(text):
        raise argparse.ArgumentTypeError(f"{text!r}: give a function as file.py:name or module:name")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="test_model.py",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_subject_flags(parser.add_argument_group("what to evaluate"))
    _add_decoding_flags(parser.add_argument_group("how to decode"))
    _add_mode_flags(parser.add_argument_group("instead of a run"))
    return parser


def _add_subject_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model_path",
        type=Path,
        help="a vision-language model's folder, or its name on the Hub (docs/running.md, Models)",
    )
    group.add_argument(
        "--data_path",
        type=Path,
        help="folder of the pictures, such as /PATH/TO/Geo170K/; with --benchmark: a local copy of the data set "
        "(default: the Hub's)",
    )
    group.add_argument("--prompt_path", type=Path, help="question file, such as eval/prompts/geoqa_test_prompts.jsonl")
    group.add_argument(
        "--benchmark",
        type=_benchmark,
        metavar="NAME",
        help=f"instead of a question file: {', '.join(ADAPTERS)} (docs/datasets.md), or your own Adapter as file.py:name",
    )
    group.add_argument("--output_dir", type=Path, help="default: output/eval/MODEL/QUESTION_FILE (or .../BENCHMARK)")
    group.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    group.add_argument("--no_image", action="store_true", help="ask without the pictures (how far text alone gets)")
    group.add_argument(
        "--preset",
        default=DEFAULT,
        choices=tuple(PRESETS),
        help="whose evaluation, unless a flag overrides it: released is the authors' code (docs/faithfulness.md)",
    )
    group.add_argument(
        "--protocol",
        choices=ACCURACY_PROTOCOLS,
        help="what `Accuracy:` counts; released_evaluation compares the completion with the ground truth, paper (the "
        "default) the other way round",
    )
    group.add_argument(
        "--scorer",
        type=_reference,
        metavar="FILE.py:NAME",
        help="your own function of a completion and a ground truth, instead of --protocol (docs/your_own.md)",
    )
    group.add_argument(
        "--no_report", action="store_true", help="do not write the page OUTPUT_DIR/report.html at the end"
    )
    group.add_argument("--skip_bad", action="store_true", help="leave out unusable questions, count them, and continue")


def _add_decoding_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--scale", type=float, nargs="+", metavar="S", help="calibration scales, in one model load (default 0.0: none)"
    )
    group.add_argument(
        "--backend",
        default="auto",
        choices=BACKENDS,
        help="auto: vLLM if it is installed and supports the model, else hf",
    )
    group.add_argument(
        "--batch_size",
        type=int,
        metavar="N",
        help="questions decoded at a time, per process (default: 10 for hf; for vLLM 128 on a GPU, 32 without)",
    )
    group.add_argument(
        "--gpu_ids", type=_gpu_ids, metavar="0,1", help="GPUs to use, one process each (default: all visible)"
    )
    group.add_argument("--num_processes", type=int, metavar="N", help="without a GPU: decoding processes (default 1)")
    group.add_argument("--max_new_tokens", type=int, default=1024, metavar="N", help="default 1024")
    group.add_argument("--max_pixels", type=int, metavar="N", help="larger pictures are shrunk to this many pixels")
    group.add_argument(
        "--picture_processing",
        default="processor",
        choices=PICTURE_PROCESSING,
        help="qwen_vl_utils: that library resizes pictures before the processor, as in the authors' code (Qwen's models)",
    )
    group.add_argument(
        "--gpu_memory_utilization", type=float, default=0.9, metavar="F", help="vLLM's share of each GPU (default 0.9)"
    )
    group.add_argument("--dtype", default="auto", choices=DTYPES, help="auto: bfloat16 on a GPU, float32 without")


def _add_mode_flags(group: argparse._ArgumentGroup) -> None:
    modes = group.add_mutually_exclusive_group()
    modes.add_argument("--check_data", action="store_true", help="check questions and pictures, decode nothing")
    modes.add_argument("--rescore", action="store_true", help="score the stored answers again, without a model")


# ----------------------------------------------------------------------------------------------------
# The command, from flags to `Accuracy:`


def main() -> int:
    """Runs the command line in sys.argv and returns the exit code. Raises UserError for a user mistake."""
    options = parse()
    # Modules that load torch are imported below, so that --help and errors in flags do not wait for them.
    if options.rescore:
        from hint_grpo.evaluation.rescore import rescore

        output = output_folder(options)
        summaries = rescore(
            output, options.scale, no_image=options.no_image, protocol=options.scorer or options.protocol
        )
    else:
        settings = settings_from(options)
        check(settings)
        settings = with_local_model(settings)
        if options.check_data:
            from hint_grpo.evaluation.questions import check_data

            return check_data(settings)
        from hint_grpo.evaluation.run import run_evaluation

        output, summaries = settings.output, run_evaluation(settings)

    from hint_grpo.evaluation.report import print_report
    from hint_grpo.machine.report_process import write_report

    print_report(output, summaries, None if options.no_report else write_report(output))
    return 0


def _interruptible() -> int:
    try:
        return main()
    except KeyboardInterrupt:
        print("interrupted; every answer so far is on disk, run the same command again to resume", file=sys.stderr)
        return 130


def command() -> None:
    """Runs `main` and exits: 0, 2 after a user's mistake (one line on stderr), 130 after Ctrl-C."""
    run_main(_interruptible)


if __name__ == "__main__":
    command()
