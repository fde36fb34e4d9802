"""Evaluation: from a model and questions to `Accuracy:`.

cli              the command line of test_model.py
settings         what one evaluation is; presets
questions        the questions of a run, checked before a model is loaded (datasets: those of --benchmark)
run              decode, judge, summarise
pool, worker     the decoding processes and the work assigned to them
store, results   answers on disk, which of them are still valid, and the numbers computed from them
judging          whether an answer is correct
report           how the numbers are printed and drawn
rescore          judge stored answers again
compare          a paired test between two runs (`python -m hint_grpo.evaluation compare`)
"""
