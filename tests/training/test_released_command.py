"""The published command with --preset released on the toy world: hints, rewards and chosen levels follow the released rules."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from test_published_command import free_port

from hint_grpo.training import rollout_log

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(world, tmp_path_factory):
    """The data folder with the re-split file in it, as a user downloads it."""
    folder = tmp_path_factory.mktemp("released") / "LLaVA-CoT-100k"
    shutil.copytree(world.train_data, folder, copy_function=os.link)
    shutil.copy(world.steps_file, folder)
    return folder


@pytest.fixture(scope="module")
def run(world, data, repository, tmp_path_factory):
    """Two ranks, ZeRO-3 with offload, vLLM rollouts; the learning rate alone is said otherwise."""
    out = tmp_path_factory.mktemp("released_run")
    command = f"""
        {sys.executable} -m torch.distributed.run
        --nproc_per_node=2 --nnodes 1 --node_rank 0 --master-addr localhost --master-port {free_port()}
        train_model.py --preset released --deepspeed local_scripts/zero3_offload.json
        --model_name_or_path {world.models["Qwen2.5-VL"]}/ --data_path {data}/
        --dataset_name LLaVA-CoT-100k --max_prompt_length 8192 --max_completion_length 64
        --per_device_train_batch_size 1 --gradient_accumulation_steps 1 --num_groups 2 --num_generations 4
        --logging_steps 1 --torch_dtype float32 --gradient_checkpointing true --attn_implementation sdpa
        --max_pixels 2359296 --save_total_limit 16 --num_train_epochs 2 --eval_strategy no
        --reward_funcs accuracy format --use_vllm true --vllm_gpu_memory_utilization 0.6 --save_strategy no
        --output_dir {out} --max_steps 3 --learning_rate 1e-3
    """.split()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return out, done.stdout


def test_the_run_says_whose_settings_it_has(run):
    out, printed = run
    assert printed.count("preset released; overridden: learning_rate 0.001 (preset: 1e-06)") == 1
    assert "llavacot_geometry.jsonl: " in printed
    assert "the authors' released code keeps 7,840 samples, 7,616 after its length filter; here" in printed
    text = (out / "train_config.yaml").read_text()
    saved = yaml.safe_load(text)
    assert "# preset released; overridden: learning_rate 0.001 (preset: 1e-06)\n" in text
    assert (saved["preset"], saved["learning_rate"]) == ("released", 0.001)
    assert saved["level_rule"] == "summed_rewards"
    assert "preset released; overridden: learning_rate 0.001 (preset: 1e-06)" in (out / "README.md").read_text()


def released_steps_of(reasoning: str) -> list[str]:
    return [piece.strip(" :\n") for piece in re.split(r"Step \d+", reasoning)[1:]]


def test_levels_hints_and_rewards_follow_the_released_rules(run, data, tmp_path):

    from hint_grpo.data.dataset import load_training_data
    from hint_grpo.data.llava_cot import reasoning_and_conclusion
    from hint_grpo.scoring import score

    out, _ = run
    samples, _ = load_training_data(data, data_rules="released", step_rules="released", cache_dir=tmp_path)
    solutions = {row["id"]: row["solution"] for row in samples}
    steps = {}
    for record in map(json.loads, (data / "llavacot_geometry.jsonl").read_text("utf-8").splitlines()):
        for number, turn in enumerate(record["conversations"][1::2], 1):
            name = record["id"] if number == 1 else f"{record['id']}:{number}"
            steps[name] = released_steps_of(reasoning_and_conclusion(turn["value"])[0])
    records = [json.loads(line) for line in (out / "hint_ledger.jsonl").read_text().splitlines()]
    assert len(records) == 6
    for record in records:
        enough = [level for level, rewards in sorted(record["rewards"].items()) if sum(rewards) > 0]
        assert record["level"] == int(enough[0] if enough else 0)
        assert record["num_steps"] == len(steps[record["id"]]) > 0
        assert record["hint_steps"] == int(record["num_steps"] * (record["level"] / 2))
        # level 1 is sampled exactly where level 0 gave nothing
        assert ("1" in record["rewards"]) == (sum(record["rewards"]["0"]) == 0)
    rows = [row for row in rollout_log.read(out / "rollouts") if row["trained"]]
    assert len(rows) == 4 * len(records)  # in the ledger's order, a group after the other
    for place, row in enumerate(rows):
        record = records[place // 4]
        assert (row["id"], row["level"], row["place"]) == (record["id"], record["level"], place % 4)
        assert row["hint"] == " ".join(steps[record["id"]][: record["hint_steps"]])
        assert row["accuracy"] == score(row["completion"], solutions[record["id"]], "released")
        assert row["accuracy"] == record["accuracy"][str(record["level"])][place % 4]
        assert row["rewards"]["format"] == 0.0  # no completion writes a second <think>
