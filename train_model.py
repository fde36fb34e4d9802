"""Train a vision-language model with Hint-GRPO: parse -> data -> rewards -> trainer -> train -> save. See README.md."""

from hint_grpo.machine.errors import run_main


def main() -> int:
    from hint_grpo.training.command_line import parse

    script, training, model = parse()

    from hint_grpo.training import run as run

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


if __name__ == "__main__":
    run_main(main)
