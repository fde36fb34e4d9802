"""A training batch for chosen rows, and a reward that is right from a hint's length on."""


def batch_for(trainer, rows):
    """The batch a training step would get for these rows (G copies of each)."""
    place = {row["id"]: row["row"] for row in trainer.train_dataset}
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # set by the training loop
    return trainer._generate_and_score_completions(
        [{**row, "row": place[row["id"]]} for row in rows for _ in range(trainer.num_generations)]
    )


def correct_from(characters):
    """Place 0 of a group is correct once the begun turn has so many characters."""

    def accuracy(completions, begun, **_):
        return [float(len(text) >= characters and place == 0) for place, text in enumerate(begun)]

    return accuracy
