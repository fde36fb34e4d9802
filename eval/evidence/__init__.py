"""Evidence: do the paper's two claims hold in the toy world? `python -m eval.evidence`, docs/evidence.md.

protocol    the experiments: base models, training runs, measurements and evaluations, as values
jobs        runs them, a few at a time; what is finished is kept
results     the numbers of finished jobs: means over seeds, intervals, paired tests
report      the tables, the paper's statements that hold here, summary.json
figures     the curves
"""
