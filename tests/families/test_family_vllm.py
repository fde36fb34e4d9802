"""Qwen3-VL in vLLM: calibrated decoding as in transformers, and rollouts from the trainer's own distribution."""

import hint_grpo.machine.stack  # noqa: F401

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor

from hint_grpo.calibration.decoder import DecodeRequest
from hint_grpo.calibration.load import load_decoder
from hint_grpo.training.config import HintGRPOConfig
from hint_grpo.training.trainer import HintGRPOTrainer

pytest.importorskip("vllm")
NEW_TOKENS = 12


def test_calibrated_decoding_equals_the_transformers_path(tiny_path, rows) -> None:
    path = tiny_path("Qwen3-VL", sharp=True)
    requests = [
        DecodeRequest(f"{row['id']}-{n}", question, row["image"])
        for row in rows
        for n, question in enumerate((row["question"], "How many?", "Which colour is the disc?"))
    ]
    answers = {}
    for backend in ("hf", "vllm"):
        decoder = load_decoder(path, backend=backend, max_new_tokens=NEW_TOKENS, batch_size=5)
        answers[backend] = [{c.id: c.token_ids for c in decoder.decode(requests, scale)} for scale in (0.0, 0.8)]
        decoder.close()
    assert answers["vllm"] == answers["hf"]
    assert answers["hf"][0] != answers["hf"][1]
    assert len(set(answers["hf"][1].values())) > len(requests) // 2


def correct_with_a_hint(completions, begun, **_):
    return [float(len(text) > len("<think>") and place % 2 == 0) for place, text in enumerate(begun)]


@pytest.mark.slow
def test_vllm_samples_from_the_policy_before_and_after_an_update(tiny_path, rows, tmp_path) -> None:
    path = str(tiny_path("Qwen3-VL"))
    trainer = HintGRPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32),
        reward_funcs=[correct_with_a_hint],
        accuracy=correct_with_a_hint,
        args=HintGRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=16,
            max_prompt_length=512,
            max_steps=3,
            learning_rate=1e-3,
            logging_steps=1,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            use_vllm=True,
            save_strategy="no",
            log_completions=False,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoProcessor.from_pretrained(path, padding_side="left"),
    )
    gaps = []
    record = trainer._record

    def recording(*arguments):
        gaps.append(logp_gap(trainer))  # the rollouts at hand against the policy before its update
        record(*arguments)

    trainer._record = recording
    trainer.train()
    assert len(gaps) == 3
    assert max(gaps) < 1e-3, gaps
    assert all(rollout.chosen == 1 for rollout in trainer.batch.rollouts)


def logp_gap(trainer) -> float:
    """Mean |trainer's - vLLM's log-probability|, after allowing for the suppressed tokens (vLLM renormalises)."""
    never, gaps = torch.tensor(trainer.vllm_generation.suppressed_ids), []
    for rollout in trainer.batch.rollouts:
        turn = rollout.group.turn
        for completion in rollout.group.completions:
            begun = turn.prompt.ids + turn.begun_ids
            ids = torch.tensor([begun + completion.token_ids])
            inputs = turn.prompt.image_inputs | trainer.encoder.family.token_inputs(ids, turn.prompt.image_inputs)
            with torch.no_grad():
                logits = trainer.model(input_ids=ids, **inputs).logits[0]
            logits = logits[len(begun) - 1 : -1] / trainer.args.temperature
            logits[:, never] = -torch.inf
            logps = torch.log_softmax(logits, -1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
            gaps.append((logps - torch.tensor(completion.logps)).abs())
    return torch.cat(gaps).mean().item()
