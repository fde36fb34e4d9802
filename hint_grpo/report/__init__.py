"""Reports: a page (HTML) that shows a training run: its curves, and what happened to each question.

__main__   `python -m hint_grpo.report RUN [RUN ...]`
data       a run's folder as dataclasses: its settings and one series of values per metric
cards      one card per prompt and step, from the rollout log and the ledger, with their pictures
curves     curves over steps as SVG text
page       the pages: templates/ filled with the above

Nothing here imports torch or matplotlib.
"""
