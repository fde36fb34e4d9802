"""The installed TRL against what hint_grpo.training.batch writes down of it."""

import hint_grpo.machine.stack  # noqa: F401

import ast
import importlib.metadata
import inspect
import textwrap

import pytest
from trl import GRPOTrainer

from hint_grpo.training import batch
from hint_grpo.training.resumable import ResumableTrainer
from hint_grpo.training.trainer import HintGRPOTrainer


def test_the_installed_version_is_the_one_written_down(repository):
    assert importlib.metadata.version("trl") == batch.TRL_VERSION
    assert f"trl=={batch.TRL_VERSION}\n" in (repository / "requirements-common.txt").read_text()


@pytest.mark.parametrize("name", batch.PRIVATE_METHODS)
def test_private_methods_have_the_parameters_written_down(name):
    parameters = tuple(inspect.signature(inspect.unwrap(getattr(GRPOTrainer, name))).parameters)
    assert parameters == batch.PRIVATE_METHODS[name]


def test_every_private_method_of_trl_that_is_overridden_is_written_down():
    own = vars(HintGRPOTrainer) | vars(ResumableTrainer)
    overridden = {
        name for name in own if name.startswith("_") and not name.startswith("__") and name in vars(GRPOTrainer)
    }
    overridden -= {"_tag_names"}  # class data, not a method
    with_signature_read_from_trl = {"_get_per_token_logps_and_entropies"}
    assert overridden - with_signature_read_from_trl <= batch.PRIVATE_METHODS.keys()


def returned_names(function):
    """The names in the tuple that a function's last statement returns."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    (statement,) = [node for node in tree.body[0].body if isinstance(node, ast.Return)]
    return tuple(element.id for element in statement.value.elts)


def test_generate_returns_the_tuple_written_down():
    assert returned_names(GRPOTrainer._generate) == batch.Generated._fields


def test_only_the_texts_are_replaced():
    given = ([[1]], [[2, 3]], [[0, 1]], ["old"], None, {"a": 1}, None, [])
    result = batch.with_texts(given, ["new"])
    assert result.completions == [[{"role": "assistant", "content": "new"}]]
    assert result._replace(completions=["old"]) == given
