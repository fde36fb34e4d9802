"""Tables of answers, one line per ground truth: `ground truth <- answer | answer | ...`.

⏎ stands for a line break, ␣ for a space, ␀ for nothing; lines that begin with "# " are headings.
"""


def cases(table: str) -> list[tuple[str, str]]:
    lines = [line.split(" <- ") for line in table.splitlines() if line and not line.startswith("# ")]
    signs = str.maketrans({"⏎": "\n", "␣": " ", "␀": None})
    return [(gold, answer.translate(signs)) for gold, answers in lines for answer in answers.split(" | ")]
