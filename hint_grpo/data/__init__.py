"""From the user's files to samples: readers, filters (each named and counted), images, and the check before a run.

    sample.py                       what every reader of training data produces
    jsonl.py                        lines -> records; a bad line is noted as file:line and skipped
    llava_cot.py, own_jsonl.py      records -> samples or drops (filters.py names the reasons)
      fill_in.py, multiple_choice.py, answers.py, value_text.py, steps.py     the text work of both
      released.py                   the rules of the authors' released code, where a run asks for them
      reasoning_length.py           the one filter that needs the model's tokenizer
    dataset.py                      load_training_data: file -> datasets.Dataset on disk, and a DataReport
      cache.py, store.py, report.py
    questions.py                    read_questions: evaluation question files
    paths.py, images.py, pixels.py  image paths kept inside the data folder; the one place that opens an image
    preflight.py, preflight_report.py    opens, tokenises and scores everything before a run does
      lengths.py, leak.py           tokens of an image, what fits; hints that hold the answer

Nothing here imports torch; `datasets` is imported by dataset.py, store.py and preflight.py alone.
"""
