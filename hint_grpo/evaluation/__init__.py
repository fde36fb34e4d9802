"""Evaluation: from a model and questions to `Accuracy:`.

main, cli        the command line of test_model.py
settings         what one evaluation is; presets
questions        the questions of a run, checked before a model is loaded (datasets: those of --benchmark)
run              decode, judge, summarise
pool, worker     the decoding processes and the work assigned to them
store, results   answers on disk, and which of them are still valid
judging          whether an answer is correct
summary, report  the numbers of a run, and how they are printed and drawn
rescore          judge stored answers again
compare          a paired test between two runs (`python -m hint_grpo.evaluation compare`)
"""
