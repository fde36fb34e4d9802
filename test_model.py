"""Evaluate a model: parse -> questions -> decode (calibrated) -> score -> report. See README.md and --help."""

import sys

from hint_grpo.evaluation.cli import check, output_folder, parse, settings_from, with_local_model
from hint_grpo.machine.errors import run_main


def main() -> int:
    options = parse()
    # Imported only now: --help and a wrong flag must answer at once.
    if options.rescore:
        from hint_grpo.evaluation.rescore import rescore

        output = output_folder(options)
        summaries = rescore(output, options.scale, no_image=options.no_image, protocol=options.protocol)
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

    print_report(output, summaries)
    return 0


def interruptible() -> int:
    try:
        return main()
    except KeyboardInterrupt:
        print("interrupted; every answer so far is on disk, the same command goes on from there", file=sys.stderr)
        return 130


if __name__ == "__main__":
    run_main(interruptible)
