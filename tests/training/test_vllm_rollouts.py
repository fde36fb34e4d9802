"""Real vLLM in the trainer's process: same distribution as the trainer before and after an update, same groups as asked."""

import hint_grpo.machine.stack  # noqa: F401

import os
from dataclasses import replace

import pytest
import torch
from batches import batch_for, correct_from, logp_gap
from peft import LoraConfig

from hint_grpo.policies.seele import SEELE
from hint_grpo.rollout import vllm_common
from hint_grpo.rollout.vllm_common import forget_prefixes
from hint_grpo.training.command_line import LORA_TARGETS
from hint_grpo.training.monitoring import GapWatch, TrainingStopped

pytest.importorskip("vllm")
from hint_grpo.rollout.vllm_colocate import threads_kept


@pytest.fixture(scope="module")
def trainer(make_trainer, samples):
    """One engine for the whole module."""
    return make_trainer(
        accuracy=correct_from(20), samples=samples, use_vllm=True, max_completion_length=32, learning_rate=1e-3
    )


def test_log_probabilities_agree_before_and_after_updates(trainer, samples):
    batch_for(trainer, samples[:2])
    gaps = [logp_gap(trainer)]
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        trainer.state.global_step += 1  # what makes TRL hand over new weights
        batch_for(trainer, samples[2:4])  # a picture seen before, under other weights, is among them the second time
        gaps.append(logp_gap(trainer))
    assert max(gaps) < 1e-3, gaps


def test_the_launcher_variables_of_the_engine_are_gone_afterwards(trainer):
    """A training run that this process started would take them for its own and meet the engine's port."""
    assert trainer.vllm_generation.llm
    assert not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} & os.environ.keys()


def test_the_trainers_threads_are_its_own(trainer):
    """Built into this process, vLLM's CPU engine leaves a `torch.set_num_threads` that does nothing."""
    assert trainer.vllm_generation.llm
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)


def test_threads_are_given_back_when_vllm_sets_them_to_one(monkeypatch):
    """As its GPU worker does at the end of loading; here its very function, as the CPU worker's stub keeps it from it."""
    from vllm.utils.torch_utils import set_torch_threads_for_runtime

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    with threads_kept():
        set_torch_threads_for_runtime()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def test_rounds_of_a_mixed_group_come_from_the_policy(trainer, samples, monkeypatch):
    """SEELE's four rounds of one completion each, with the hints that the rounds before ask for."""
    monkeypatch.setattr(trainer, "turn_builder", replace(trainer.turn_builder, policy=SEELE()))
    batch = batch_for(trainer, samples[:2])
    assert logp_gap(trainer) < 1e-3
    mask = batch["completion_mask"] * batch["tool_mask"]
    assert mask.sum(1).tolist() == [len(group.completions[0].token_ids) for group in trainer.batch.groups]
    for row, rollout in zip(samples[:2], trainer.batch.rollouts, strict=True):
        assert rollout.mixed
        assert [len(group.completions) for group in rollout.trained] == [1, 1, 1, 1]
        for group in rollout.trained:
            assert group.turn.begun == "<think>" + " ".join(row["reasoning_steps"][: group.turn.hint.num_steps])
        assert len({group.turn.hint.num_steps for group in rollout.trained}) > 1
        assert len({group.turn.seed for group in rollout.trained}) == 4


def test_stale_weights_would_be_seen(trainer, samples):
    """The measure itself: without the hand-over the gap is large."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    batch_for(trainer, samples[4:6])
    assert logp_gap(trainer) > 1e-2
    trainer.state.global_step += 1


def test_levels_share_the_engine_and_keep_their_prompts(trainer, samples):
    batch = batch_for(trainer, samples[:2])
    mask = batch["completion_mask"] * batch["tool_mask"]
    sampled = [
        len(completion.token_ids) for rollout in trainer.batch.rollouts for completion in rollout.group.completions
    ]
    assert mask.sum(1).tolist() == sampled
    for completion in (c for rollout in trainer.batch.rollouts for c in rollout.group.completions):
        ended = completion.token_ids[-1] in trainer.eos_token_ids
        assert completion.finish_reason == ("stop" if ended else "length")
    for row, rollout in zip(samples[:2], trainer.batch.rollouts, strict=True):
        assert set(rollout.groups) == {0, 1}
        assert rollout.chosen == 1
        assert rollout.group.turn.hint.text == row["reasoning_steps"][0]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    assert torch.equal(batch["mm_token_type_ids"], (ids == trainer.model.config.image_token_id).long())


def test_a_step_can_be_repeated(trainer, samples):
    first = [
        [c.token_ids for c in r.group.completions] for r in (batch_for(trainer, samples[:2]), trainer.batch.rollouts)[1]
    ]
    again = [
        [c.token_ids for c in r.group.completions] for r in (batch_for(trainer, samples[:2]), trainer.batch.rollouts)[1]
    ]
    assert first == again
    assert first[0][0] != first[0][1]  # a group's completions differ


def test_vision_tokens_are_never_sampled(trainer, samples):
    """Even by a model that wants nothing else."""
    never = trainer.vllm_generation.suppressed_ids
    assert trainer.model.config.image_token_id in never
    sampled = set()
    for seed in range(3):
        batch_for(trainer, samples[seed : seed + 2])
        sampled |= {
            t for r in trainer.batch.rollouts for g in r.groups.values() for c in g.completions for t in c.token_ids
        }
    assert not sampled & set(never)


def test_every_training_step_samples_from_the_present_weights(trainer, monkeypatch):
    record, gaps = trainer._record, []

    def recording(*arguments):
        gaps.append(logp_gap(trainer))  # the rollouts at hand against the policy before its update
        record(*arguments)

    monkeypatch.setattr(trainer, "_record", recording)
    before = trainer.model.get_input_embeddings().weight.detach().clone()
    trainer.train()
    assert not torch.equal(before, trainer.model.get_input_embeddings().weight)
    assert len(gaps) == 2
    assert max(gaps) < 1e-3, gaps
    logged = [row for row in trainer.state.log_history if "sampling/sampling_logp_difference/mean" in row]
    assert len(logged) == 2


def test_a_request_in_flight_holds_on_to_the_old_prefixes(trainer, monkeypatch):
    """vLLM answers False then, and keeps them."""
    from vllm import SamplingParams

    monkeypatch.setattr(vllm_common, "RESET_PAUSE_S", 0)
    llm = trainer.vllm_generation.llm
    llm.llm_engine.add_request("held", {"prompt_token_ids": [5] * 40}, SamplingParams(max_tokens=8, ignore_eos=True))
    llm.llm_engine.step()
    with pytest.raises(RuntimeError, match="did not reset its prefix cache"):
        forget_prefixes(llm.reset_prefix_cache)
    while llm.llm_engine.has_unfinished_requests():
        llm.llm_engine.step()
    forget_prefixes(llm.reset_prefix_cache)


def test_a_servers_worker_reloads_within_vllms_configuration(trainer, world, monkeypatch):
    """The way of a server's weights on a CPU, here on the worker of the engine in this process."""
    from vllm.config import get_current_vllm_config_or_none

    worker = trainer.vllm_generation.llm.llm_engine.model_executor.driver_worker.worker
    reload, seen = worker.model_runner.reload_weights, []

    def look(**arguments):
        seen.append(get_current_vllm_config_or_none())
        reload(**arguments)

    monkeypatch.setattr(worker.model_runner, "reload_weights", look)
    vllm_common.WeightLoading.load_weights_from(worker, str(world.models["Qwen2.5-VL"]))
    assert seen == [worker.vllm_config]
    trainer.vllm_generation.sync_weights()


def test_weights_that_do_not_arrive_are_noticed(trainer, monkeypatch, capfd):
    """The hand-over does nothing: a warning first, then the run stops."""
    monkeypatch.setattr(trainer.vllm_generation, "sync_weights", lambda: None)
    monkeypatch.setattr(trainer.args, "max_steps", 30)
    monkeypatch.setattr(trainer.args, "learning_rate", 1e-2)
    trainer.health.gap = GapWatch(0.05)
    trainer.health.gap.first = [0.01] * 5
    with pytest.raises(TrainingStopped, match="may not have arrived in vLLM, for 5 steps in a row"):
        trainer.train()
    assert "warning: step" in capfd.readouterr().err


def test_an_adapter_arrives_merged(make_trainer, samples):
    trainer = make_trainer(
        accuracy=correct_from(20),
        samples=samples,
        use_vllm=True,
        max_completion_length=32,
        peft_config=LoraConfig(r=4, target_modules=LORA_TARGETS),
    )
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    batch_for(trainer, samples[:2])
    assert logp_gap(trainer) < 1e-3
