"""Reward functions from outside the package: how they are called, and what is said about one that does not work."""

import asyncio
import math
import threading

import pytest
from trl.rewards import get_soft_overlong_punishment, think_format_reward

from hint_grpo.hints import HintLevel
from hint_grpo.machine.errors import UserError
from hint_grpo.plugins import is_reference, load
from hint_grpo.rollout.escalation import EncodedPrompt, Sampled, Turn
from hint_grpo.rollout.scorer import GroupScorer
from hint_grpo.scoring.plugged import PluggedReward, form_of, plugged_reward, plugged_scorer
from hint_grpo.scoring.rewards import check_rewards, make_reward, make_rewards, reward_columns, try_rewards

ROW = {
    "id": "a",
    "image": "/a.png",
    "question": "How many?",
    "solution": "3",
    "reasoning_steps": ["One."],
    "source": "my.jsonl:1",
    "extra": '{"difficulty": 0.5, "tags": ["x"]}',
    "row": 0,
}


def plugged(function):
    return PluggedReward(function, "my.py:f", "--reward_funcs")


def tried(function, num_completions=4, row=ROW):
    """What `try_rewards` does with one function."""
    reward = plugged(function)
    given = reward_columns(row, num_completions) | {
        "completions": ["right", "wrong"] * (num_completions // 2),
        "begun": ["<think>"] * num_completions,
        "prompts": [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}]]
        * num_completions,
        "completion_ids": [[1, 2, 3]] * num_completions,
        "trainer_state": None,
    }
    reward.try_out(given)
    return reward, given


@pytest.fixture
def write(tmp_path):
    """write(text) -> the path of a new file with this text."""

    def write(text, name="mine.py"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


# --- loading ---


def test_a_reference_is_a_path_and_a_name(write):
    path = write(
        "def brevity(completions): return [0.5 for _ in completions]\nclass Box:\n    inner = staticmethod(len)\n"
    )
    assert load(f"{path}:brevity", "--reward_funcs")(["a", "b"]) == [0.5, 0.5]
    assert load(f"{path}:Box.inner", "--reward_funcs")("abc") == 3
    assert load("math:sqrt", "--reward_funcs") is math.sqrt
    assert load(f"{path}:brevity", "--x") is load(f"{path}:brevity", "--y")  # executed once
    assert is_reference("a.py:f")
    assert not is_reference("accuracy")
    assert not is_reference(None)


def test_two_files_of_one_name_are_two_modules(tmp_path):
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"value = {value}\n")
    assert [load(f"{tmp_path}/{folder}/mine.py:value", "--x") for folder in "ab"] == [1, 2]


def test_a_module_in_the_current_folder_is_found(write, monkeypatch, tmp_path):
    write("def f(completions): return []\n", "a_module_of_this_test.py")
    monkeypatch.chdir(tmp_path)
    assert load("a_module_of_this_test:f", "--x")(None) == []


def test_what_the_file_needs_but_is_not_installed_is_named(write):
    path = write("import no_such_package\n")
    with pytest.raises(UserError, match=r"--x .*cannot be imported: mine.py:1: ModuleNotFoundError.*no_such_package"):
        load(f"{path}:f", "--x")


# --- calling ---


def test_a_function_gets_the_columns_that_it_names(write):
    def by_difficulty(completions, difficulty, solution):
        return [
            a if text == "right" else float(gold)
            for text, a, gold in zip(completions, difficulty, solution, strict=True)
        ]

    reward, given = tried(by_difficulty)
    assert reward(**given) == [0.5, 3.0, 0.5, 3.0]
    assert reward.__name__ == "by_difficulty"


def test_a_function_with_kwargs_gets_everything():
    seen = {}

    def all_of_them(completions, **more):
        seen.update(more)
        return [0.0] * len(completions)

    tried(all_of_them)
    assert seen.keys() >= {
        "prompts",
        "completion_ids",
        "begun",
        "trainer_state",
        "solution",
        "tags",
        "difficulty",
        "id",
    }
    assert seen["tags"] == [["x"]] * 4
    assert not {"extra", "row"} & seen.keys()
    assert seen["prompts"] == ["How many?"] * 4  # texts, as the completions are


def test_messages_by_annotation_and_by_trial():
    def annotated(completions: list[list[dict[str, str]]], prompts) -> list[float]:
        assert prompts[0][0]["role"] == "user"
        return [float(completion[0]["content"] == "<think>right") for completion in completions]

    def plain(prompts, completions, **kwargs):
        return [float(len(completion[-1]["content"])) for completion in completions]

    reward, given = tried(annotated)
    assert (form_of(annotated), reward.form) == ("messages", "messages")
    assert reward(**given) == [1.0, 0.0, 1.0, 0.0]
    reward, given = tried(plain)
    assert (form_of(plain), reward.form) == (None, "messages")
    assert reward(**given) == [12.0] * 4  # "<think>right", "<think>wrong"


def test_texts_by_annotation_and_by_trial():
    def annotated(completions: list[str]) -> list[float]:
        return [float(len(text)) for text in completions]

    for function in (annotated, lambda completions: [float(len(text)) for text in completions]):
        reward, given = tried(function)
        assert reward.form == "texts"
        assert reward(**given) == [5.0] * 4


def test_async_functions_share_one_loop_beside_the_caller():
    loops, threads = set(), set()

    async def judged(completions, **_):
        await asyncio.sleep(0)
        loops.add(id(asyncio.get_running_loop()))
        threads.add(threading.current_thread().name)
        return [1.0, None] * (len(completions) // 2)

    class Judge:
        async def __call__(self, completions, **_):
            loops.add(id(asyncio.get_running_loop()))
            return [2.0 for _ in completions]

    reward, given = tried(judged)
    assert reward(**given) == [1.0, None, 1.0, None]
    assert tried(Judge())[0](**given) == [2.0] * 4
    assert len(loops) == 1
    assert threads == {"async-rewards"}


# --- TRL's own rewards, unchanged ---


def group_of(rewards, accuracy, texts, token_ids, **more):
    """The group that a GroupScorer makes of completions with these texts."""
    prompt = EncodedPrompt([{"role": "user", "content": "How many?"}], [1], [1], None, {}, None)
    turn = Turn(0, HintLevel(1, 1, "One."), prompt, "<think>One.", [5, 6], 1, 0)
    ids = {tuple(one): text for one, text in zip(token_ids, texts, strict=True)}
    scorer = GroupScorer(rewards, accuracy, lambda one: ids[tuple(one)], **more)
    return scorer(ROW, turn, [Sampled(list(one), None, "stop") for one in token_ids])


def test_trls_own_rewards_score_a_group():
    overlong = get_soft_overlong_punishment(max_completion_len=10, soft_punish_cache=4)
    rewards = [plugged(think_format_reward), plugged(overlong)]
    assert [reward.__name__ for reward in rewards] == ["think_format_reward", "soft_overlong_punishment_reward"]
    texts = ["Three.</think><answer>3</answer>", "Three.", "x</think>3", "y</think>3"]
    token_ids = [[1] * 6, [2] * 7, [3] * 10, [4] * 11]
    accuracy = make_reward("accuracy", "strict")
    group = group_of(rewards, accuracy, texts, token_ids)
    # think: `<think>` begins the turn, and must be closed. overlong: 0 up to 6 tokens, (6 - n) / 4 up to 10, then -1
    assert group.rewards_GF == [[1.0, 0.0], [0.0, -0.25], [1.0, -1.0], [1.0, -1.0]]
    assert group.accuracy_G == [1.0, 0.0, 0.0, 0.0]


def test_the_threshold_makes_any_accuracy_right_or_wrong():
    accuracy = plugged_like([0.2, 0.5, 0.7, None])
    group = group_of([accuracy], accuracy, list("abcd"), [[1], [2], [3], [4]], threshold=0.5)
    assert group.accuracy_G[:3] == [0.0, 1.0, 1.0]
    assert math.isnan(group.accuracy_G[3])
    # The reward that is trained on keeps its values.
    assert [row[0] for row in group.rewards_GF][:3] == [0.2, 0.5, 0.7]
    assert group_of([accuracy], accuracy, list("abcd"), [[1], [2], [3], [4]]).accuracy_G[:3] == [0.0, 0.0, 0.0]


def plugged_like(values):
    return lambda completions, **_: values


# --- mistakes ---


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda completions: [1.0], "it returns 1 rewards for 4 completions"),
        (lambda completions: 1.0, "it returns float, not a list"),
        (lambda completions: ["good"] * 4, "it returns 'good' in its list"),
        (
            lambda completions, level: [1.0] * 4,
            "it needs 'level', which the data does not have; there are begun, completion",
        ),
        (lambda completions: [1 / 0], r"fails on the first sample: test_plugged_rewards.py:\d+: ZeroDivisionError"),
        (
            lambda completions: [one[0]["contents"] for one in completions],
            "fails on the first sample: .*KeyError: 'contents'",
        ),
    ],
)
def test_a_mistake_is_found_by_the_trial_and_named(function, message):
    with pytest.raises(UserError, match=f"--reward_funcs my.py:f: {message}"):
        tried(function)


def test_a_result_of_the_wrong_length_is_an_error_in_training_too():
    with pytest.raises(UserError, match="it returns 3 rewards for 2 completions"):
        plugged(lambda completions: [0.0] * 3)(completions=["a", "b"])


def test_accuracy_from_a_file_is_the_reward_accuracy(write):
    path = write("def close(completions, solution): return [0.7 for _ in completions]\n")
    rewards, decides = make_rewards(["accuracy", "format"], f"{path}:close")
    assert rewards[0] is decides
    assert [reward.__name__ for reward in rewards] == ["accuracy", "format"]
    assert decides(completions=["x"], solution=["3"]) == [0.7]
    assert plugged_reward(f"{path}:close", "--accuracy", "accuracy") is decides
    check_rewards(["accuracy"], f"{path}:close", "strict")


def test_the_trial_alternates_right_and_wrong_completions(write):
    path = write("seen = []\ndef f(completions): seen.extend(completions); return [0.0] * len(completions)\n")
    try_rewards([f"{path}:f"], None, "strict", ROW, 4, None)
    seen = load(f"{path}:seen", "--x")
    assert make_reward("accuracy")(completions=seen, solution=["3"] * 4) == [1.0, 0.0, 1.0, 0.0]


def test_a_scorer_replaces_the_checker(write):
    path = write(
        "def same(completion, solution): return solution in completion\ndef bad(completion, solution): return 'x'\n"
    )
    accuracy = make_reward("accuracy", f"{path}:same")
    assert accuracy(completions=["it is 3", "it is 4"], solution=["3", "3"]) == [1.0, 0.0]
    assert make_reward("format", f"{path}:same")(completions=["a</think><answer>3</answer>"]) == [1.0]
    with pytest.raises(UserError, match=r"--scorer .*bad: it returns 'x': give a number"):
        plugged_scorer(f"{path}:bad")("3", "3")
    with pytest.raises(UserError, match=r"--scorer .*: it returns 'x'"):
        try_rewards(["accuracy"], None, f"{path}:bad", ROW, 2, None)
