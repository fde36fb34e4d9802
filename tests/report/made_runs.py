"""The files of a training run by hand: rows of the rollout log, lines of the ledger, a configuration, a model card."""

import json

CONFIG = """\
# The flags of this run: train_model.py --config train_config.yaml runs it again.
# preset default: this project's own settings (others: --preset paper, --preset released)
# machine: Toy CPU, 2 cores, 8 GiB of memory, 1 x Toy GPU

dataset_name: LLaVA-CoT-100k
model_name_or_path: /models/Toy-VL
hint_injection: {injection}
hint_policy: adaptive
num_groups: 3
num_generations: 2
max_logp_gap: 0.05
reward_funcs:
- accuracy
"""
CARD = "| | |\n|---|---|\n| base model | Toy-VL |\n\n| `--seed` | 7 |\n\n## Versions\n\ntorch 2.0, trl 1.0\n"
EVIL = "</script><script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\"> & <b>bold</b>"


def row(step, sample, level, place, *, image, right, trained=True, **changes):
    """One row of the rollout log; level 1 has a hint."""
    return {
        "step": step,
        "id": sample,
        "image": str(image),
        "question": "What is x?",
        "solution": "65°",
        "level": level,
        "hint": "AB = AC." if level else "",
        "place": place,
        "completion": "so</think><answer>65°</answer>" if right else "so</think><answer>60°</answer>",
        "finish_reason": "stop",
        "num_tokens": 9,
        "rewards": {"accuracy": float(right)},
        "accuracy": float(right),
        "answer": "65°" if right else "60°",
        "verdict": "right" if right else "different",
        "trained": trained,
        "advantage": (0.5 if right else -0.5) if trained else None,
    } | changes


def record(step, sample, rewards, level):
    """One line of the ledger; `rewards`: by level."""
    return {
        "step": step,
        "id": sample,
        "level": level,
        "hint_steps": level,
        "num_steps": 3,
        "hint_tokens": 4 * level,
        "valid": len(set(rewards[str(level)])) > 1,
        "rewards": rewards,
        "accuracy": rewards,
        "sampled_tokens": dict.fromkeys(rewards, 18),
        "skipped_levels": 0,
    }


def write_lines(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
