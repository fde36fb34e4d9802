"""The data sets of --benchmark: each is declared by its columns, read by `datasets`, and asked and judged like GeoQA's questions.

registry   the data sets; light, so that `--help` can list them
adapter    what is declared about a data set, and how one of its rows becomes a question
read       rows from a local copy or the Hub, pictures as files, and from both the questions of a run
"""
