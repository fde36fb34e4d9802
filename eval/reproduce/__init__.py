"""`python -m eval.reproduce`: the paper's ablation table and figures from recipes; runs or resumes what is missing.

In the order of the data flow:

cli         the command line: which rows, which figures, which experiments
recipes     reads eval/recipes (one training each), recipes/settings (what they share), eval/tables (the rows)
steps       one training, one evaluation: its command, and by its files whether it is finished
plan        which steps each run needs; runs those that are not finished
schedules     other papers' hint schedules on toy models, over seeds
report      the table, with the paper's numbers beside the measured ones, and the figures
"""
