"""The hand-over of weights: how layers are grouped, what is sent when, and that vLLM then has the policy's weights."""

import hint_grpo.machine.stack  # noqa: F401

import contextlib

import pytest
import torch
from batches import batch_for, correct_from, logp_gap
from peft import LoraConfig, get_peft_model
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from hint_grpo.rollout.weights import announcement, layers_of, layers_to_send, merged, tensors
from hint_grpo.training import run
from hint_grpo.training.command_line import LORA_TARGETS, parse

pytest.importorskip("vllm")
from vllm_weights import different_tensors

# Qwen2-VL-7B-Instruct's config.json.
QWEN2_VL_7B = Qwen2VLConfig(
    text_config={
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
    vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "mlp_ratio": 4},
    tie_word_embeddings=False,
)


@pytest.fixture(scope="module")
def qwen_7b():
    """The paper's model without memory."""
    with torch.device("meta"):
        return Qwen2VLForConditionalGeneration(QWEN2_VL_7B)


@pytest.fixture
def toy(world):
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(world.models["Qwen2.5-VL"])


def names_of(layers):
    return [name for layer in layers for name in layer.parameters]


def with_adapter(model, **settings):
    """The model with an adapter that changes its output."""
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=LORA_TARGETS, **settings))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return adapted


# ----------------------------------------------------------------------------------------------------
# Layers


def test_the_papers_model_is_gathered_in_67_layers_instead_of_730_parameters(qwen_7b):
    layers = layers_of(qwen_7b)
    assert len(list(qwen_7b.parameters())) == len(names_of(layers)) == 730
    # 28 + 32 blocks; embeddings, last norm, head; the picture's patches, and norm and two matrices behind the blocks
    assert len(layers) == 28 + 32 + 3 + 4 == 67
    assert sorted(names_of(layers)) == sorted(name for name, _ in qwen_7b.named_parameters())
    # No more is whole at a time than the largest matrix of the model (its head), 1.1 GB in bf16.
    sizes = [sum(parameter.numel() for parameter in layer.parameters.values()) for layer in layers]
    assert max(sizes) == 152064 * 3584


def test_an_adapters_matrices_are_in_the_layer_of_what_they_adapt(qwen_7b, toy):
    adapted = get_peft_model(toy, LoraConfig(r=4, target_modules=["q_proj", "merger.mlp.0"]))
    layers = layers_of(adapted)
    assert sum(len(layer.adapted) for layer in layers) == sum("lora_A" in name for name in names_of(layers)) == 3
    for layer in layers:
        num_matrices = sum("lora_A" in name for name in layer.parameters)
        assert len(layer.adapted) == num_matrices
        assert not num_matrices or any(name.endswith("base_layer.weight") for name in layer.parameters)


@pytest.mark.parametrize(("frozen", "expected"), [((), 10), (("visual",), 8), (("layers.0.",), 9)])
def test_frozen_layers_are_left_out(toy, frozen, expected):
    """The toy model has 2 + 2 blocks and 6 modules outside of them, which are sent together or not at all."""
    for name, parameter in toy.named_parameters():
        parameter.requires_grad_(not any(part in name for part in frozen))
    assert len(layers_to_send(toy, with_frozen=True)) == 10
    layers = layers_to_send(toy, with_frozen=False)
    assert len(layers) == expected
    announced = {name: (dtype, shape) for name, dtype, shape in announcement(layers)}
    sent = {name: (str(tensor.dtype).removeprefix("torch."), list(tensor.shape)) for name, tensor in tensors(layers)}
    assert announced == sent


# ----------------------------------------------------------------------------------------------------
# Adapters


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_merging_leaves_no_rounding_behind(toy, settings):
    adapted = with_adapter(toy.bfloat16(), **settings)
    before = {name: parameter.detach().clone() for name, parameter in adapted.named_parameters()}
    kept = dict(tensors(layers_to_send(adapted, with_frozen=True)))
    for name, parameter in adapted.named_parameters():
        assert torch.equal(parameter, before[name]), name
    assert not any(module.merged for layer in layers_of(adapted) for module in layer.adapted)
    # What was yielded is what peft merges, and still is when the iterator has ended.
    whole = adapted.merge_and_unload().state_dict()
    assert kept.keys() <= whole.keys()
    for name, tensor in kept.items():
        assert torch.equal(tensor, whole[name]), name


def test_an_abandoned_hand_over_leaves_the_policy_as_it_was(toy):
    adapted = with_adapter(toy)
    before = {name: parameter.detach().clone() for name, parameter in adapted.named_parameters()}
    layer = next(layer for layer in layers_of(adapted) if layer.adapted)
    with contextlib.suppress(ConnectionError), merged(layer.adapted):
        assert layer.adapted[0].merged
        raise ConnectionError
    assert not layer.adapted[0].merged
    for name, parameter in adapted.named_parameters():
        assert torch.equal(parameter, before[name]), name


# ----------------------------------------------------------------------------------------------------
# Real vLLM in this process


@pytest.fixture
def sent(monkeypatch):
    """sent(trainer) -> list of {name: bytes}, one entry per hand-over of the trainer from now on."""

    def watch(trainer):
        hand_overs, new_weights = [], trainer.vllm_generation._new_weights

        def look():
            hand_overs.append({})
            for name, tensor in new_weights():
                hand_overs[-1][name] = tensor.nbytes
                yield name, tensor

        monkeypatch.setattr(trainer.vllm_generation, "_new_weights", look)
        return hand_overs

    return watch


def perturb(trainer, seed):
    """What an update does: the trained parameters change."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    trainer.state.global_step += 1


def weights_that_differ(trainer):
    merged_weights = dict(tensors(layers_to_send(trainer.model, with_frozen=True)))
    in_vllm = trainer.vllm_generation.llm.llm_engine.model_executor.driver_worker.get_model()
    return different_tensors(merged_weights, in_vllm)[1]


@pytest.mark.parametrize("kind", ["frozen tower", "frozen embeddings", "adapter"])
def test_frozen_weights_are_sent_once_and_the_engine_has_the_policys(make_trainer, samples, sent, kind):
    config = LoraConfig(r=4, target_modules=LORA_TARGETS) if kind == "adapter" else None
    trainer = make_trainer(
        accuracy=correct_from(20), samples=samples, use_vllm=True, max_completion_length=32, peft_config=config
    )
    if kind == "frozen tower":
        trainer.model.model.visual.requires_grad_(False)
    if kind == "frozen embeddings":  # tied to the head
        for name, parameter in trainer.model.named_parameters():
            parameter.requires_grad_(".layers." in name or ".blocks." in name)
    hand_overs = sent(trainer)
    for seed in range(3):
        batch_for(trainer, samples[seed : seed + 2])
        assert logp_gap(trainer) < 1e-3
        assert weights_that_differ(trainer) == []
        perturb(trainer, seed)
    first, *later = hand_overs
    assert len(later) == 2
    assert sum(first.values()) == 5033472  # every weight, 4 bytes each
    for hand_over in later:
        assert hand_over.keys() < first.keys()
        is_left_out = {
            "frozen tower": lambda name: ".visual." in name and ".blocks." in name,
            "frozen embeddings": lambda name: ".layers." not in name and ".blocks." not in name,
            "adapter": lambda name: ".layers." not in name,
        }[kind]
        assert {name for name in first if not is_left_out(name)} == set(hand_over)


# ----------------------------------------------------------------------------------------------------
# The first hand-over


@pytest.fixture
def parsed(world, tmp_path):
    """parsed(flag=value, ...) -> the configuration of a run of the toy model with vLLM in the process."""

    def parsed(**flags):
        settings = {
            "model_name_or_path": world.models["Qwen2.5-VL"],
            "data_path": world.train_data,
            "output_dir": tmp_path / "run",
            "use_vllm": "true",
            "use_cpu": "true",
            "num_generations": 4,
            "max_completion_length": 32,
            **flags,
        }
        return parse([word for name, value in settings.items() for word in (f"--{name}", str(value))])

    return parsed


@pytest.mark.parametrize("flags", [{}, {"torch_dtype": "bfloat16"}, {"use_peft": "true"}])
def test_before_the_first_step_the_engine_has_the_policys_weights(parsed, sent, flags):
    script, training, model = parsed(**flags)
    processor = run.load_processor(model, training)
    dataset, _ = run.load_data(script, training, processor)
    trainer = run.make_trainer(script, training, model, dataset, processor)
    hand_overs = sent(trainer)
    batch_for(trainer, [trainer.train_dataset[0]])
    assert hand_overs == []
    if "torch_dtype" not in flags:  # the policy is in float32, the engine in bfloat16
        assert logp_gap(trainer) < 1e-3
        assert weights_that_differ(trainer) == []
    perturb(trainer, 0)
    batch_for(trainer, [trainer.train_dataset[1]])
    assert len(hand_overs) == 1
    trainer.state.global_step = 0  # a second training starts from the weights of the first
    batch_for(trainer, [trainer.train_dataset[0]])
    assert len(hand_overs) == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, True),
        ({"use_peft": "true"}, True),
        ({"use_peft": "true", "use_dora": "true"}, False),
        ({"vllm_server_base_url": "http://localhost:1"}, False),
        ({"vllm_mode": "server"}, True),
        ({"model_revision": "other"}, False),
        ({"model_init_kwargs": '{"variant": "fp16"}'}, False),
        ({"use_vllm": "false"}, False),
    ],
)
def test_when_the_first_hand_over_is_left_out(parsed, flags, expected):
    _, training, model = parsed(**flags)
    assert run.engine_loads_the_policy(training, model, QWEN2_VL_7B) is expected


def test_a_resumed_run_hands_everything_over(make_trainer, samples, sent):
    trainer = make_trainer(accuracy=correct_from(20), samples=samples, use_vllm=True, max_completion_length=32)
    trainer.model.model.visual.requires_grad_(False)
    trainer.vllm_generation.loaded_the_policy = True
    hand_overs = sent(trainer)
    trainer.state.global_step = 3
    batch_for(trainer, samples[:2])
    (hand_over,) = hand_overs
    assert sum(hand_over.values()) == 5033472
