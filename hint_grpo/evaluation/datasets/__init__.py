"""The other benchmarks: each a declaration of its columns, read by `datasets`, asked and judged like GeoQA's questions.

adapter    what a benchmark declares, and how its rows become questions
wording    how questions are put, and how answer columns name the right option
registry   the benchmarks themselves: light, so that `--help` can list them
rows       the data set: a local copy or the Hub
pictures   its pictures as files, under the run's output
read       all of it together: a benchmark's questions, and what was left out
"""
