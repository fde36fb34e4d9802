"""`python -m eval.reproduce`: the paper's ablation table and figures from recipes; what is missing is run or resumed.

recipes     reads eval/recipes (a training each), recipes/settings (what they share), tables (the rows)
steps       one training, one evaluation: its command, and whether its files say that it is done
plan        which steps a table and the figures need, run by run
table       the paper's numbers beside the measured ones
figures     data utilisation; accuracy with and without the picture; accuracy against scale
cli, work   the command line; running what is missing
"""
