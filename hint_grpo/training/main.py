"""The training command, from flags to saved weights: `train_model.py` and the installed `hint-grpo-train` both run it.

Its order is the order of a run: parse, data, resume, rollout server, trainer, train, save (the steps are in `run.py`).
"""

from hint_grpo.machine.errors import run_main


def main() -> int:
    """Runs the command line in sys.argv and returns the exit code. Raises UserError for a mistake of the user's."""
    from hint_grpo.training.command_line import parse

    script, training, model = parse()

    # Imported only now: --help and a wrong flag must answer at once, and this loads torch, TRL and vLLM.
    from hint_grpo.training import run

    processor = run.load_processor(model, training)
    dataset, report = run.load_data(script, training, processor)
    if script.check_data:
        exit_code, dataset = run.check_data(training, model, dataset, report, processor)
        if not script.skip_bad:
            return exit_code
    with run.only_run(training):
        resume = run.checkpoint(training, dataset)
        if resume and run.finish_with(resume, training):
            return 0
        with run.rollout_server(training, model) as server:
            trainer = run.make_trainer(script, training, model, dataset, processor, server)
            run.describe(trainer, report)
            run.save_config(trainer)
            stopped = run.train(trainer, resume)
            if stopped is not None:
                return stopped
            run.finish(trainer)
    return 0


def command() -> None:
    """Runs `main` and exits: 0, 2 after a user's mistake (one line on stderr), 130 after Ctrl-C, or the code of a stopped run."""
    run_main(main)


if __name__ == "__main__":
    command()
