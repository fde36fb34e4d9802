"""Reports: pages (HTML) that show a training run or an evaluation: its curves, and what happened to each question.

__main__   `python -m hint_grpo.report FOLDER [FOLDER ...]`
data       a run's folder as dataclasses: its settings and one series of values per metric
cards      one card per prompt and step, from the rollout log and the ledger, with their pictures
page_files report.html and the files beside it
pictures   scaled pictures
curves     curves over steps as SVG text
page       the pages of training runs: templates/ filled with the above
evaluation the page of an evaluation

Nothing here imports torch or matplotlib.
"""
