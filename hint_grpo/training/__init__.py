"""Training: from the command line to the saved model, in the order in which a run passes through.

flags           the flags of train_model.py, read from the dataclasses that declare them without importing TRL
flag_values     which values each flag accepts, and which flags have no effect here
flag_checks     checks of flags together, and of the machine, the model's files and the output folder
flag_help       --help
presets         --preset, and train_config.yaml, the record of a run's flags
command_line    the command: flags and YAML file -> checks -> the dataclasses of `config` -> the steps of `run`
config          the configuration: ScriptArguments and HintGRPOConfig, one field per flag

run             the steps of the command, from the processor and the data to the last weights
trainer         HintGRPOTrainer: TRL's GRPOTrainer with hinted rollouts
batch           RolloutBatch: one batch as a value, from sampling to the ledger; TRL's private interface that is relied on
importance      importance weights between vLLM and the policy
corrected       CorrectedTrainer: takes them from the loss's own forward pass
hint_loss       the loss on the hint's tokens (`--hint_loss_weight`)
rollout_log     every completion of every sampled level, with its answer and why it was right or wrong
completion_table a logged step's completions for wandb and for printing
ledger          the hint ledger, one record per prompt and step, and the metrics computed from it
monitoring      stage times, the watchdog, checks that stop a broken run, stopping on a signal
callbacks       what happens around the steps: clean start, log, progress bar
resumable       ResumableTrainer, the base of `trainer`: writes and loads the checkpoints
checkpoints     the files of atomic checkpoints, and which of them a run may resume from

model_card      README.md beside the weights
plots           data utilisation and text bias over training steps
smoothing       running means over steps, for plots and pages
merge           `python -m hint_grpo.training.merge`: merges a LoRA adapter into its base model
probe           `python -m hint_grpo.training.probe`: predicts before training how much hints would help
"""
