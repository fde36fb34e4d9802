"""From the user's files to samples: readers, filters (each named and counted), images, and the check before training.

    jsonl.py            lines -> records; a bad line is noted as file:line and skipped
    llava_cot.py        LLaVA-CoT records -> samples   (sections, answers.py, multiple_choice.py, steps.py)
    own_jsonl.py        a user's own records -> samples
    questions.py        evaluation question files -> questions
    dataset.py          load_training_data: samples -> a datasets.Dataset on disk, cached, plus a report
    paths.py, images.py, pixels.py
                        image paths kept inside the data folder; the one place that opens an image
    lengths.py          prompt tokens of an image and a text; does a prompt fit
    preflight.py        opens, tokenises and scores everything before a run does

Nothing here imports torch; `datasets` is imported by dataset.py, store.py and preflight.py alone.
"""
