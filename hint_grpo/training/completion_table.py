"""The completions of a logged step for people: a table for wandb, and lines to print (`--num_completions_to_print`).

Both are made from the rows of the rollout log, so they have every sampled level, with the answer and why it was right or wrong.
They replace TRL's table, which has the trained group alone, and its copies in OUTPUT_DIR/completions.
"""

from collections.abc import Iterator, Sequence

from PIL import Image

from hint_grpo.data.images import open_image
from hint_grpo.data.paths import BadImage
from hint_grpo.training.rollout_log import Row

NAME = "completions"
COLUMNS = ("step", "id", "picture", "question", "solution", "level", "hint", "completion", "answer", "verdict")
LAST_COLUMNS = ("trained", "advantage")
MAX_PROMPTS = 16
"""Of a table: wandb stores a file for each picture."""
MAX_SIDE = 224


def send_to_wandb(step: int, rows_by_prompt: Sequence[list[Row]], *, with_pictures: bool = True) -> None:
    """Logs the table of a step's first prompts; does nothing if no wandb run is active."""
    import wandb

    prompts = [rows for rows in rows_by_prompt[:MAX_PROMPTS] if rows]
    if wandb.run is None or not prompts:
        return
    rewards = tuple(prompts[0][0]["rewards"])
    table = wandb.Table(columns=[*COLUMNS, *rewards, *LAST_COLUMNS])
    for rows in prompts:
        picture = _picture(rows[0]["image"]) if with_pictures else None
        shown = None if picture is None else wandb.Image(picture)  # one for all rows: wandb stores it once
        for row in rows:
            values = row | {"picture": shown} | row["rewards"]
            table.add_data(*(values[column] for column in (*COLUMNS, *rewards, *LAST_COLUMNS)))
    wandb.log({NAME: table, "train/global_step": step})


def lines(rows_by_prompt: Sequence[list[Row]], count: int | None) -> Iterator[str]:
    """The first `count` completions that were trained on (None: all), with what is known about each."""
    trained = [row for rows in rows_by_prompt for row in rows if row["trained"]]
    for row in trained[:count]:
        hint = f" after the hint {row['hint']!r}" if row["hint"] else ""
        yield f"step {row['step']}, {row['id']}, level {row['level']}, {row['verdict']}{hint}:\n{row['completion']}"


def _picture(path: str) -> Image.Image | None:
    """The picture at no more than 224 pixels a side; None if it cannot be read."""
    try:
        picture = open_image(path)
    except BadImage:
        return None
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    return picture
