"""From the user's files to samples and questions: readers, filters (named and counted), images, the check before a run.

    jsonl.py                 JSON lines -> records; a bad line is skipped and reported as file:line
    samples.py               the types that readers produce (Sample, Dropped, Filter), and DataReport, which counts them
    llava_cot.py             LLaVA-CoT-100k records -> samples, also by the rules of the authors' released code
    own_records.py           a user's own records -> samples
      fill_in.py, answers.py    text work of both: multiple choice, and the value of a conclusion
    dataset.py               load_training_data: file -> datasets.Dataset on disk, and a DataReport
    questions.py             read_questions: files of evaluation questions
    paths.py, images.py, picture_processing.py    paths inside the data folder; opening an image; resizing it
    preflight.py             opens, tokenises and scores everything before a run
      preflight_report.py    its result

Nothing here imports torch; only dataset.py and preflight.py import `datasets`.
"""
