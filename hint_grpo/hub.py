"""Models by their folder, or by their name on the Hugging Face Hub: found within seconds, or one line that says why not.

Light to import. huggingface_hub retries a dead network for minutes. Here one connection is tried first. A refused connection or
an unknown host ends at once; a network that is silent gets `PATIENCE_S`, which a slow one needs.
"""

import json
import os
import re
import socket
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hint_grpo.families import vllm_supports as vllm_supports  # re-exported: of a folder that `find_model` gave
from hint_grpo.machine.errors import UserError

PATIENCE_S = 20.0
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
PICTURE_FILES = ("preprocessor_config.json", "processor_config.json")
WEIGHTS = ("*.safetensors", "*.bin")


def is_folder(name: str) -> bool:
    """Whether a model's name means a folder here; a Hub name is OWNER/NAME, and such a folder wins over it."""
    return Path(name).expanduser().is_dir() or HUB_NAME.fullmatch(name) is None


def find_model(name: str, flag: str, revision: str | None = None) -> Path:
    """The folder that holds the model's config.json: `name` itself, or a place in the cache, with the small files alone."""
    if is_folder(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UserError(f"{flag} {name} is not a folder; give the folder of a downloaded model, or its Hub name")
        return folder
    return Path(_download(name, flag, revision, patterns=["*.json", "*.jinja", "*.txt", "*.model"]))


def download_model(name: str, flag: str) -> Path:
    """The folder of the whole model, downloaded where it is a Hub name."""
    if is_folder(name):
        return find_model(name, flag)
    return Path(_download(name, flag, None, patterns=["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]))


def check_model_files(folder: Path, what: str, *, weights: bool) -> None:
    """A model's folder holds a vision-language model that is whole. `weights`: look for them too."""
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{what} holds a LoRA adapter: merge it first: python -m hint_grpo.training.merge {folder} MERGED"
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"{what} holds no config.json; give the folder of a downloaded model")
    config = read_config(folder)
    if not any((folder / name).is_file() for name in PICTURE_FILES):
        kind = config.get("model_type", "unknown")
        raise UserError(
            f"{what} has no {PICTURE_FILES[0]}: it is not a vision-language model ({kind}), or its processor is missing"
        )
    if weights and not any(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        raise UserError(f"{what} holds no weights (*.safetensors): get the model again")


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / 'config.json'} is not JSON ({error}): get the model again") from error
    return config if isinstance(config, dict) else {}


def check_network(what: str) -> None:
    """Raises UserError where the Hub cannot be reached."""
    url = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    proxy = None if urllib.request.proxy_bypass(url.hostname or "") else urllib.request.getproxies().get(url.scheme)
    target = urlsplit(proxy if proxy is None or "://" in proxy else f"http://{proxy}") if proxy else url
    host, port = target.hostname or "", target.port or (443 if target.scheme == "https" else 80)
    pool = ThreadPoolExecutor(1)
    try:  # in a thread: the look-up of a name has no time-out
        pool.submit(lambda: socket.create_connection((host, port), timeout=PATIENCE_S).close()).result(PATIENCE_S)
    except (OSError, FutureTimeout) as error:
        reason = str(error) or f"no answer in {PATIENCE_S:.0f} s"
        raise UserError(f"{what}, and the Hugging Face Hub cannot be reached ({host}: {reason})") from None
    finally:
        pool.shutdown(wait=False)


def _download(name: str, flag: str, revision: str | None, patterns: list[str]) -> str:
    """A snapshot of the Hub's repository in the cache. Without a network, what the cache holds is enough."""
    what = f"{flag} {name} is neither a folder here nor in the cache of downloaded models"
    if not (_cache() / f"models--{name.replace('/', '--')}").is_dir() and not os.environ.get("HF_HUB_OFFLINE"):
        check_network(what)  # before the import, which takes longer

    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        cached = snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=True)
    except (LocalEntryNotFoundError, RepositoryNotFoundError):
        cached = None
    except HFValidationError as error:
        raise UserError(f"{flag} {name}: {error}") from error
    if constants.HF_HUB_OFFLINE:
        if cached is None:
            raise UserError(f"{what}, and HF_HUB_OFFLINE is set")
        return cached
    try:
        check_network(what)
    except UserError:
        if cached is None:
            raise
        stay_offline()
        return cached
    try:
        return snapshot_download(name, revision=revision, allow_patterns=patterns)
    except GatedRepoError as error:
        raise UserError(f"{flag} {name} is gated: ask for access on its page and log in (hf auth login)") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{flag} {name} has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{flag} {name}: there is no such folder here and no such model on the Hub") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"{flag} {name} could not be downloaded: {error}") from error


def _cache() -> Path:
    """huggingface_hub's folder of downloads (its documentation, Environment variables)."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{caches}/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def stay_offline() -> None:
    """The libraries use the cache too, instead of retrying for minutes."""
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True
    if "datasets" in sys.modules:
        sys.modules["datasets"].config.HF_HUB_OFFLINE = True
