"""The evaluation command, from flags to `Accuracy:`: `test_model.py` and the installed `hint-grpo-eval` both run it.

(`python -m hint_grpo.evaluation compare`, in `__main__.py`, compares two runs that this command has finished.)
"""

import sys

from hint_grpo.evaluation.cli import check, output_folder, parse, settings_from, with_local_model
from hint_grpo.machine.errors import run_main


def main() -> int:
    """Runs the command line in sys.argv and returns the exit code. Raises UserError for a mistake of the user."""
    options = parse()
    # Modules that load torch are imported below, so that --help and a wrong flag answer at once.
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
