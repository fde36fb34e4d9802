"""Every mistake in a flag is one line with the fix, before torch is imported."""

import os
import subprocess
import sys

import pytest

from hint_grpo.machine.errors import UserError
from hint_grpo.training import command_line

# Flags -> a part of the line. {tmp}: a new folder.
MISTAKES = {
    # choices
    "--loss_type foo": "--loss_type foo is not known: use one of grpo, dr_grpo",
    "--loss_type gpro": "did you mean grpo?",
    "--scale_rewards maybe": "use one of group, batch, none",
    "--attn_implementation foo": "use one of sdpa, eager",
    "--attn_implementation sdap": "did you mean sdpa?",
    "--attn_implementation flash_attention_2": "use --attn_implementation sdpa",
    "--attn_implementation kernels-community/flash-attn2": "needs kernels, which is not installed",
    "--torch_dtype bfloat17": "did you mean bfloat16?",
    "--dtype half": "use one of auto, bfloat16",
    "--report_to wandbb": "did you mean wandb?",
    "--report_to trackio": "needs trackio, which is not installed: pip install --no-deps trackio gradio-client brotli orjson",
    "--report_to none wandb": "none cannot be combined with a tracker",
    "--optim adamw_torhc": "did you mean adamw_torch?",
    "--optim adamw_8bit": "needs bitsandbytes, which is not installed",
    "--optim galore_adamw": "needs galore-torch",
    "--lr_scheduler_type cosin": "did you mean cosine?",
    "--lr_scheduler_type reduce_lr_on_plateau": "use one of linear",
    "--save_strategy best": "use one of no, steps, epoch",
    "--logging_strategy sometimes": "use one of no, steps, epoch",
    "--hub_strategy never": "every_save",
    "--importance_sampling_level word": "token, sequence",
    "--multi_objective_aggregation mean": "sum_then_normalize",
    "--vllm_mode remote": "auto, colocate, server",
    "--vllm_model_impl torch": "vllm, transformers",
    "--vllm_importance_sampling_mode token": "token_truncate",
    "--hint_policy sometimes": "adaptive, fixed, random, none",
    "--hint_injection suffix": "answer, query",
    "--escalation busy": "auto, lazy, eager, speculative",
    "--escalation speculative --use_vllm false": "--escalation speculative needs --use_vllm true",
    "--rollouts_ahead 2": "[0, 1]",
    "--rollouts_ahead 1 --use_vllm false": "--rollouts_ahead 1 needs a vLLM server",
    "--rollouts_ahead 1 --use_vllm true --vllm_mode colocate": "--rollouts_ahead 1 needs a vLLM server",
    "--rollouts_ahead 1 --use_vllm true --vllm_mode server --keep_sampling 2": "does not work with --keep_sampling 2",
    "--rollouts_ahead 1 --use_vllm true --vllm_mode server --num_iterations 2": "trains once on each sampled batch",
    "--rollouts_ahead 1 --use_vllm true --vllm_mode server --steps_per_generation 2": "trains once on each sampled batch",
    "--rollouts_ahead 1 --use_vllm true --vllm_mode server --vllm_importance_sampling_mode sequence_mask": "by token",
    "--rollouts_ahead 1 --use_vllm true --vllm_mode server --vllm_importance_sampling_correction false": "by token",
    "--scorer lenient": "strict, paper",
    "--scorer lenient.py:f": "there is no file lenient.py",
    "--cache_implementation huge": "static",
    "--log_level loud": "passive",
    "--ddp_backend tcp": "gloo",
    "--torch_compile_mode fast": "max-autotune",
    "--torch_compile_backend foo": "inductor",
    "--bnb_4bit_quant_type int4": "fp4, nf4",
    "--debug everything": "underflow_overflow",
    # numbers out of range
    "--temperature 0": "--temperature 0.0: give a number above 0",
    "--temperature nan": "above 0",
    "--temperature inf": "above 0",
    "--top_p 0": "(0, 1]",
    "--top_p 1.5": "(0, 1]",
    "--top_k -1": "0 or more",
    "--min_p 2": "[0, 1]",
    "--repetition_penalty 0": "above 0",
    "--max_pixels -1": "1 or more",
    "--max_pixels 0": "1 or more",
    "--num_iterations 0": "1 or more",
    "--num_generations 1": "2 or more",
    "--num_groups 0": "1 or more",
    "--per_device_train_batch_size 0": "1 or more",
    "--gradient_accumulation_steps 0": "1 or more",
    "--steps_per_generation 0": "1 or more",
    "--max_completion_length 0": "1 or more",
    "--max_prompt_length 0": "1 or more",
    "--max_steps 0": "or -1 for --num_train_epochs",
    "--num_train_epochs 0": "above 0",
    "--learning_rate -1": "0 or more",
    "--learning_rate nan": "0 or more",
    "--weight_decay -1": "0 or more",
    "--adam_beta2 1": "[0, 1)",
    "--max_grad_norm -1": "0 or more",
    "--warmup_steps -1": "0 or more",
    "--beta -1": "0 or more",
    "--epsilon -1": "0 or more",
    "--lora_dropout 1 --use_peft": "[0, 1)",
    "--lora_r 0 --use_peft": "1 or more",
    "--save_steps 0": "above 0",
    "--save_steps 2.5": "whole number",
    "--logging_steps 0": "above 0",
    "--save_total_limit 0": "1 or more",
    "--seed -1": "[0, 4294967295]",
    "--max_bad_steps 0": "1 or more",
    "--keep_rollouts some": "all, trained, or a number",
    "--keep_rollouts -1": "all, trained, or a number",
    "--max_rollouts_mb -1": "0 or more",
    "--report_every -1": "0 or more",
    "--report_every 5 --report false": "needs --report true",
    "--stage_timeout 0": "above 0",
    "--vllm_gpu_memory_utilization 1.2": "(0, 1]",
    "--vllm_tensor_parallel_size 0": "1 or more",
    "--vllm_max_model_length 0": "1 or more",
    "--vllm_group_port 70000": "[1, 65535]",
    "--top_entropy_quantile 2": "[0, 1]",
    "--dataloader_num_workers -1": "0 or more",
    "--hint_policy fixed --hint_ratio 1.5": "[0, 1)",
    # wrong type
    "--temperature warm": "'warm' is not a number",
    "--num_groups 2.5": "'2.5' is not a whole number",
    "--gradient_checkpointing perhaps": "neither true nor false",
    "--model_init_kwargs dtype": "not a JSON object",
    "--lr_scheduler_kwargs [1]": "not a JSON object",
    "--fsdp_config no.json": "neither a file nor a JSON object",
    "--num_groups": "expected one argument",
    # combinations
    "--reward_weights 1 2": "2 number(s) and --reward_funcs 1",
    "--reward_funcs accuracy format --reward_weights 1": "1 number(s) and --reward_funcs 2",
    "--reward_funcs accuracy accuracy": "each reward once",
    "--reward_funcs beauty": "accuracy, format",
    "--reward_funcs no_such_module:f": "there is no module no_such_module",
    "--reward_funcs {tmp}/plugin.py:brevty": "has no brevty; did you mean brevity?",
    "--reward_funcs {tmp}/plugin.py:COUNT": "it is a int; give a function",
    "--reward_funcs {tmp}/plugin.py:": "give module:name or file.py:name",
    "--reward_funcs {tmp}/fails.py:f": "cannot be imported: fails.py:2: ZeroDivisionError",
    "--reward_funcs {tmp}/wrong.py:f": "is not Python: line 1",
    "--reward_funcs {tmp}/plugin.py:nothing": "it accepts nothing",
    "--reward_funcs {tmp}/plugin.py:by_position": "parameter texts must accept a keyword",
    "--reward_funcs {tmp}/plugin.py:brevity {tmp}/plugin.py:also_brevity": "two functions have the name brevity",
    "--accuracy exact": "give a function as file.py:name",
    "--accuracy_threshold 0": "above 0",
    "--scorer {tmp}/plugin.py:brevity": "it is called with (completion, solution)",
    "--lora_r 8": "--lora_r 8 needs --use_peft true",
    "--lora_target_modules q_proj": "needs --use_peft true",
    "--use_dora true": "needs --use_peft true",
    "--load_in_4bit true": "needs --use_peft true",
    "--use_peft true --load_in_4bit true": "needs an NVIDIA GPU",
    "--use_peft true --load_in_8bit true": "needs an NVIDIA GPU",
    "--use_peft true --use_bnb_nested_quant true": "needs --load_in_4bit true",
    "--use_peft true --sync_ref_model true": "does not work with --use_peft",
    "--sync_ref_model true --beta 0": "no reference model",
    "--hint_policy fixed": "needs --hint_ratio",
    "--hint_policy {tmp}/none.py:f": "there is no file",
    "--hint_policy {tmp}/plugin.py:brevity": "it is called with (sample, progress, history), but",
    '--hint_policy {tmp}/plugin.py:Halves --hint_policy_args {"share":1}': "cannot be made with --hint_policy_args",
    '--hint_policy {tmp}/plugin.py:half --hint_policy_args {"share":1}': "needs a class",
    '--hint_policy uft --hint_policy_args {"untl":1}': "unexpected keyword argument 'untl'",
    '--hint_policy_args {"until":1}': "needs a policy that has settings, not --hint_policy adaptive",
    "--hint_policy uft --hint_policy_args [1]": "is not a JSON object",
    "--hint_policy trapo --num_generations 3": "it splits --num_generations 3 into 0, 1, 1, 1",
    "--hint_policy seele --num_generations 8 --escalation eager": "each round depends on the one before",
    "--group_statistics separate": "needs a policy that mixes hints in a group, not adaptive",
    "--hint_policy seele --group_statistics separate --scale_rewards batch": "--scale_rewards group or none",
    "--keep_sampling -1": "0 or more",
    "--hint_loss_weight -1": "0 or more",
    "--hint_loss_weight 0.1 --hint_injection query": "needs --hint_injection answer",
    "--hint_ratio 0.5": "--hint_policy fixed",
    "--steps_per_generation 2 --generation_batch_size 8": "give one of them",
    "--generation_batch_size 6": "must be divisible",
    "--vllm_mode server": "needs --use_vllm true",
    "--vllm_server_base_url http://localhost:8000": "needs --use_vllm true",
    "--use_vllm true --vllm_server_base_url localhost:8000": "http://HOST:PORT",
    "--use_vllm true --vllm_server_port 8001": "--vllm_server_base_url http://HOST:PORT",
    "--use_vllm true --vllm_mode colocate --vllm_server_base_url http://a:1": "not with colocate",
    "--use_vllm true --vllm_tensor_parallel_size 2": "for a server",
    "--use_vllm true --vllm_enable_sleep_mode true": "needs a GPU",
    "--vllm_importance_sampling_clip_min 4": "must be below",
    "--loss_type luspo": "--importance_sampling_level sequence",
    "--loss_type vespo --vllm_importance_sampling_mode sequence_mask": "token_truncate",
    "--skip_bad": "needs --check_data",
    "--fp16": "needs a GPU",
    "--tf32 true": "needs a GPU",
    "--bf16 --fp16": "exclude each other",
    "--bf16 --torch_dtype float16": "differ",
    "--torch_dtype float16": "needs a GPU",
    "--torch_dtype float32 --dtype bfloat16": "differ",
    "--use_cpu false --bf16": "--use_cpu true to train in bfloat16",
    '--model_init_kwargs {"dtype":"bfloat17"}': "use --torch_dtype",
    "--dataloader_prefetch_factor 2": "--dataloader_num_workers 1 or more",
    "--log_completions_hub_repo me/x": "OUTPUT_DIR/rollouts",
    "--log_completions_steps 0": "1 or more",
    "--use_liger_kernel true": "liger-kernel",
    "--entropy_coef_min 2": "above --entropy_coef_max",
    # without effect here
    "--eval_strategy steps": "test_model.py",
    "--do_eval true": "test_model.py",
    "--load_best_model_at_end true": "test_model.py",
    "--auto_find_batch_size true": "lower --per_device_train_batch_size",
    "--use_transformers_paged true": "has no effect",
    "--remove_unused_columns true": "every column",
    "--label_smoothing_factor 0.1": "no labels",
    # launch
    "--deepspeed no/such.json": "local_scripts",
    "--deepspeed local_scripts/zero3.json": "torchrun --nproc_per_node=1 train_model.py --deepspeed",
    "--deepspeed local_scripts/paper_run.sh": "is not JSON",
    "--deepspeed local_scripts/zero3.json --fsdp full_shard": "exclude each other",
    "--fsdp full_shard": "needs torchrun",
    # names
    "--num_group 3": "unknown flag --num_group; did you mean --num_groups?",
    "--learning_rat 1": "did you mean --learning_rate?",
    "--lr 1": "unknown flag --lr",
    "--max-pixel 3": "did you mean --max_pixels?",
    "--no_such_flag 1": "unknown flag --no_such_flag",
    "more words": "unexpected 'more'",
    "--config {tmp}/none.yaml": "cannot be read",
    "--config {tmp}/broken.yaml": "is not YAML",
    "--config {tmp}/list.yaml": "must hold a mapping",
    "--config {tmp}/key.yaml": "unknown key num_group; did you mean num_groups?",
    "--config {tmp}/type.yaml": "num_groups: 'three' is not a whole number",
    "--config {tmp}/empty.yaml": "num_groups has no value",
    "--config {tmp}/range.yaml": "--temperature 0.0: give a number above 0",
    "--config {tmp}/many.yaml": "temperature [1, 2]: give one value",
    # paths
    "--output_dir {tmp}/file": "is a file; give a folder",
    "--output_dir {tmp}/file/run": "is a file; give a folder",
    "--output_dir /proc/run": "cannot write to /proc",
    "--data_path /no/such/folder": "train.jsonl",
    "--data_path {tmp}/file": "is not a folder",
    "--model_name_or_path /no/such/model/": "is not a folder",
    "--model_name_or_path nothing_of_the_kind": "is not a folder",
    "--model_name_or_path {tmp}": "config.json",
    "--model_name_or_path {tmp}/broken": "is not JSON",
    "--model_name_or_path {tmp}/text": "is not a vision-language model",
    "--model_name_or_path {tmp}/empty": "holds no weights",
    "--model_name_or_path {tmp}/lora": "python -m hint_grpo.training.merge",
    "--model_name_or_path owner/model": "the Hugging Face Hub cannot be reached",
    "--resume_from_checkpoint {tmp}": "no trainer_state.json",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the mistakes name."""
    tmp = tmp_path_factory.mktemp("mistakes")
    (tmp / "file").write_text("not a folder")
    texts = {
        "broken": "num_groups: [3",
        "list": "- num_groups",
        "key": "num_group: 3",
        "type": "num_groups: three",
        "empty": "num_groups:",
        "range": "temperature: 0",
        "many": "temperature: [1, 2]",
    }
    (tmp / "plugin.py").write_text(
        "COUNT = 3\ndef brevity(completions): return [1.0] * len(completions)\nalso_brevity = brevity\n"
        "def half(sample, progress, history): return [0]\n"
        "class Halves:\n    def levels(self, sample, progress, history): return [0]\n"
        "def nothing(): return []\ndef by_position(texts, /): return []\n"
    )
    (tmp / "fails.py").write_text("x = 1\ny = x / 0\n")
    (tmp / "wrong.py").write_text("def f(:\n")
    for name, text in texts.items():
        (tmp / f"{name}.yaml").write_text(text)
    for name in ("broken", "text", "empty", "lora", "model", "data"):
        (tmp / name).mkdir()
    for name in ("text", "empty", "model"):
        (tmp / name / "config.json").write_text('{"model_type": "qwen2_vl"}')
    for name in ("empty", "model"):
        (tmp / name / "preprocessor_config.json").write_text("{}")
    (tmp / "broken" / "config.json").write_text("{")
    (tmp / "lora" / "adapter_config.json").write_text("{}")
    (tmp / "model" / "model.safetensors").write_text("weights")
    return tmp


@pytest.fixture
def words(folder, monkeypatch):
    """words("--flag value") -> a command that is right except for that flag. The Hub refuses connections."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "cache"))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    right = f"--model_name_or_path {folder}/model --data_path {folder}/data --output_dir {folder}/run --use_cpu true"
    return lambda more: [*right.split(), *more.replace("{tmp}", str(folder)).split()]


def checked(words: list[str]) -> command_line.Given:
    given = command_line.read(words)
    command_line.check(given)
    return given


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_the_fix(mistake, words) -> None:
    with pytest.raises(UserError) as caught:
        checked(words(mistake))
    assert MISTAKES[mistake] in " ".join(str(caught.value).split())
    assert len(str(caught.value)) < 400


def test_the_command_without_the_mistakes_is_accepted(words, folder) -> None:
    given = checked(words("--scale_rewards false --num_groups 2 --report_to wandb tensorboard --bf16"))
    assert given.explicit["scale_rewards"] == "false"
    assert given.explicit["report_to"] == ["wandb", "tensorboard"]
    assert given.explicit["bf16"] is True
    assert not (folder / "run").exists()  # the check of --output_dir leaves nothing


def test_missing_paths_are_named(folder) -> None:
    for words, missing in (
        ([], "--data_path"),
        (["--data_path", f"{folder}/data", "--output_dir", f"{folder}/run"], "--model_name_or_path"),
    ):
        with pytest.raises(UserError, match=f"{missing} is missing"):
            checked(words)


@pytest.mark.parametrize(
    "mistake", ["--loss_type foo", "--num_group 3", "--config {tmp}/broken.yaml", "--model_name_or_path owner/model"]
)
def test_a_mistake_as_a_user_sees_it(mistake, words, repository) -> None:
    command = [sys.executable, "-X", "importtime", "train_model.py", *words(mistake)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    imported = [line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert MISTAKES[mistake] in said[0]
    assert not {"torch", "transformers", "trl", "vllm", "datasets"} & set(imported)


def test_a_config_built_by_a_program_is_checked_too(folder) -> None:
    from hint_grpo.training.config import HintGRPOConfig

    for change, words in (
        ({"temperature": 0.0}, "above 0"),
        ({"loss_type": "foo"}, "grpo"),
        ({"hint_ratio": 0.5}, "fixed"),
        ({"output_dir": str(folder / "file")}, "is a file"),
    ):
        with pytest.raises(UserError, match=words):
            HintGRPOConfig(**({"use_cpu": True, "output_dir": str(folder / "run")} | change))
    for given, kept in ((True, "group"), (False, "none"), ("false", "none"), ("batch", "batch")):
        config = HintGRPOConfig(scale_rewards=given, use_cpu=True, output_dir=str(folder / "run"))
        assert config.scale_rewards == kept


def test_yaml_is_read_like_the_command_line(words, folder) -> None:
    recipe = folder / "right.yaml"
    recipe.write_text(
        "num_groups: 4\nlearning_rate: 1e-5\nscale_rewards: false\nresume_from_checkpoint: true\nreport_to: none\n"
        "reward_funcs: [accuracy, format]\nreward_weights: [1, 0.5]\nhint_ratio: null\n"
        "gradient_checkpointing_kwargs: {use_reentrant: false}\nenv:\n  HINT_GRPO_TEST_OF_ENV: 1\n"
    )
    given = checked(words(f"--config {recipe} --num_groups 2"))
    assert os.environ.pop("HINT_GRPO_TEST_OF_ENV") == "1"
    assert given.config == {
        "num_groups": 4,
        "learning_rate": 1e-5,
        "scale_rewards": "false",
        "resume_from_checkpoint": "true",
        "report_to": ["none"],
        "reward_funcs": ["accuracy", "format"],
        "reward_weights": [1.0, 0.5],
        "hint_ratio": None,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }
    assert given.values()["num_groups"] == 2  # the command line wins
    assert "num_groups" in given.explicit
    assert "temperature" not in given.explicit
