"""A training batch for chosen rows, a reward that is right from a hint's length on, the sampler's distance from the policy."""

import torch

SERVER_CONTEXT = 2048
"""Of the vLLM server that conftest starts."""


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


def logp_gap(trainer):
    """Mean |trainer's - vLLM's log-probability| per sampled token, after allowing for the suppressed vision tokens.

    vLLM renormalises without them, so its log-probability is the trainer's minus log(1 - p(vision tokens)).
    """
    never = torch.tensor(trainer.vllm_generation.suppressed_ids)
    gaps = []
    for group in trainer.batch.groups:
        prompt, turn = group.turn.prompt, group.turn
        for completion in group.completions:
            begun = prompt.ids + turn.begun_ids
            ids = torch.tensor([begun + completion.token_ids])
            types = (ids == trainer.model.config.image_token_id).long()
            with torch.no_grad():
                logits = trainer.model(input_ids=ids, mm_token_type_ids=types, **prompt.image_inputs).logits[0]
            logits = logits[len(begun) - 1 : -1] / trainer.args.temperature
            logits[:, never] = -torch.inf
            logps = torch.log_softmax(logits, -1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
            gaps.append((logps - torch.tensor(completion.logps)).abs())
    return torch.cat(gaps).mean().item()
