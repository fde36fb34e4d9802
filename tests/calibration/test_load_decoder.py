"""What `load_decoder` makes of a directory, and of a user's mistakes."""

import hint_grpo.machine.stack  # noqa: F401

import json
import shutil
from pathlib import Path

import pytest
import torch

from hint_grpo.calibration.hf import HfDecoder
from hint_grpo.calibration.load import choose_backend, choose_dtype, load_decoder
from hint_grpo.machine.errors import UserError


@pytest.fixture(scope="module")
def model_path(calibration_world) -> Path:
    return calibration_world.models["Qwen2-VL"]


def copy_of(model_path: Path, to: Path) -> Path:
    return Path(shutil.copytree(model_path, to))


def test_model_class_comes_from_the_config_not_from_the_name(model_path: Path, tmp_path: Path) -> None:
    misnamed = copy_of(model_path, tmp_path / "Qwen2.5-VL-7B-Instruct")
    decoder = load_decoder(misnamed, backend="hf")
    assert isinstance(decoder, HfDecoder)
    assert type(decoder.model).__name__ == "Qwen2VLForConditionalGeneration"
    assert decoder.model.dtype == torch.float32 or torch.cuda.is_available()
    assert decoder.encoder.tokenizer.padding_side == "left"


def test_left_padding_is_asserted(model_path: Path) -> None:
    decoder = load_decoder(model_path, backend="hf")
    assert isinstance(decoder, HfDecoder)
    decoder.encoder.tokenizer.padding_side = "right"
    with pytest.raises(AssertionError, match="left padding"):
        HfDecoder(decoder.model, decoder.encoder, decoder.rules, batch_size=2, max_new_tokens=4)


@pytest.mark.parametrize("backend", ["hf", "vllm"])
def test_paths_that_hold_no_model(model_path: Path, tmp_path: Path, backend: str) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        load_decoder(tmp_path / "nowhere", backend=backend)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"config\.json"):
        load_decoder(tmp_path / "empty", backend=backend)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="LoRA adapter"):
        load_decoder(tmp_path / "adapter", backend=backend)


def test_missing_empty_and_pickled_weights(model_path: Path, tmp_path: Path) -> None:
    broken = copy_of(model_path, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="weights"):
        load_decoder(broken, backend="hf")
    (broken / "model.safetensors").unlink()
    (broken / "pytorch_model.bin").write_bytes(b"a pickle")  # never read
    with pytest.raises(UserError, match="safetensors"):
        load_decoder(broken, backend="hf")


def test_another_kind_of_model_is_refused(model_path: Path, tmp_path: Path) -> None:
    other = copy_of(model_path, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}))
    with pytest.raises(UserError, match="qwen2 model"):
        load_decoder(other, backend="hf")


def test_a_missing_processor_is_one_line(model_path: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(model_path / name, bare)
    with pytest.raises(UserError, match="processor"):
        load_decoder(bare, backend="hf")


def test_bad_settings(model_path: Path) -> None:
    for settings, word in (
        ({"backend": "sglang"}, "backend"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_pixels": -1}, "max_pixels"),
        ({"dtype": "float8"}, "dtype"),
    ):
        with pytest.raises(UserError, match=word):
            load_decoder(model_path, **({"backend": "hf"} | settings))


def test_an_attention_kernel_that_is_not_installed(model_path: Path) -> None:
    try:
        import flash_attn  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match="sdpa"):
            load_decoder(model_path, backend="hf", attn_implementation="flash_attention_2")


def test_auto_is_vllm_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend("auto") == "vllm"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_backend("auto") == "hf"
    with pytest.raises(UserError, match="not installed"):
        choose_backend("vllm")


def test_dtypes() -> None:
    assert choose_dtype("float16") == choose_dtype(torch.float16) == torch.float16
    assert (
        choose_dtype(None) == choose_dtype("auto") == (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    )
