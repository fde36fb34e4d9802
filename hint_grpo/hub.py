"""Finds and checks models, given as a folder or as a name on the Hugging Face Hub.

Used by both command lines before anything is loaded, so this module is light to import. huggingface_hub retries a dead
network for minutes; here a single connection is tried first. A refused connection or an unknown host fails immediately; a
silent network gets `PATIENCE_S`, which a slow one needs. Every failure is a UserError with one line.
"""

import os
import re
import socket
import sys
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from urllib.parse import urlsplit

from hint_grpo.families import read_config
from hint_grpo.machine.errors import UserError

PATIENCE_S = 20.0  # seconds for one connection to the Hub
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# At least one of these marks a model that accepts pictures.
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
SAFETENSORS = ("*.safetensors",)
PICKLES = ("*.bin",)
ANY_WEIGHTS = (*SAFETENSORS, *PICKLES)
# What is downloaded to check a model before its weights are needed.
SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model")

# ----------------------------------------------------------------------------------------------------
# Folder or Hub name


def is_folder(name: str) -> bool:
    """Whether a model's name means a local folder. A Hub name is OWNER/NAME; an existing folder of that name has priority."""
    return Path(name).expanduser().is_dir() or HUB_NAME.fullmatch(name) is None


def find_model(name: str, flag: str, revision: str | None = None) -> Path:
    """The folder with the model's config.json: `name` itself, or the Hub cache, where only the small files are downloaded.

    `flag` names the command-line flag in messages. Raises UserError if neither a folder nor a model has this name.
    """
    if is_folder(name):
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise UserError(f"{flag} {name} is not a folder; give the folder of a downloaded model, or its Hub name")
        return folder
    return Path(_download(name, flag, revision, patterns=[*SMALL_FILES]))


def download_model(name: str, flag: str) -> Path:
    """The folder of the whole model, weights included; downloads it if `name` is a Hub name. Raises UserError."""
    if is_folder(name):
        return find_model(name, flag)
    return Path(_download(name, flag, None, patterns=[*SAFETENSORS, *SMALL_FILES]))


# ----------------------------------------------------------------------------------------------------
# The check of a model's folder: the only one, used by training, evaluation and `load_decoder`


def check_model_files(folder: Path, what: str, *, weights: Sequence[str] = ()) -> None:
    """UserError unless `folder` holds a complete vision-language model.

    `what` begins the message, such as "--model_path DIR". `weights` are file patterns, of which at least one must match and
    none may match an empty file; () does not look for weights, as for a Hub name whose weights are not downloaded yet.
    """
    if not folder.is_dir():
        raise UserError(f"{what} is not a folder: download the model first (hf download NAME --local-dir DIR)")
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{what} holds a LoRA adapter: merge it first: python -m hint_grpo.training.merge {folder} MERGED"
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"{what} holds no config.json; give the folder of a downloaded model")
    config = read_config(folder)
    if not any((folder / name).is_file() for name in IMAGE_PROCESSOR_FILES):
        kind = config.get("model_type", "unknown")
        raise UserError(
            f"{what} has no {IMAGE_PROCESSOR_FILES[0]}: it is not a vision-language model ({kind}), or its processor is missing"
        )
    found = [path for pattern in weights for path in folder.glob(pattern)]
    if weights and not found:
        if any(any(folder.glob(pattern)) for pattern in PICKLES):
            raise UserError(
                f"{what} holds weights as pickles (*.bin), which are not read here: save the model as safetensors, with "
                "save_pretrained of transformers"
            )
        raise UserError(f"{what} holds no weights (*.safetensors): download the model again")
    if any(not path.is_file() or path.stat().st_size == 0 for path in found):
        raise UserError(f"{what} holds an empty weights file: the download is incomplete, download the model again")


# ----------------------------------------------------------------------------------------------------
# The Hub and its cache


def check_network(what: str) -> None:
    """UserError if the Hub (or the proxy in front of it) does not accept a connection; `what` begins the message."""
    url = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    proxy = None if urllib.request.proxy_bypass(url.hostname or "") else urllib.request.getproxies().get(url.scheme)
    target = urlsplit(proxy if proxy is None or "://" in proxy else f"http://{proxy}") if proxy else url
    host, port = target.hostname or "", target.port or (443 if target.scheme == "https" else 80)
    pool = ThreadPoolExecutor(1)
    try:  # in a thread: resolving a host name has no time-out
        pool.submit(lambda: socket.create_connection((host, port), timeout=PATIENCE_S).close()).result(PATIENCE_S)
    except (OSError, FutureTimeout) as error:
        reason = str(error) or f"no answer in {PATIENCE_S:.0f} s"
        raise UserError(f"{what}, and the Hugging Face Hub cannot be reached ({host}: {reason})") from None
    finally:
        pool.shutdown(wait=False)


def _download(name: str, flag: str, revision: str | None, patterns: list[str]) -> str:
    """The folder of a Hub snapshot in the cache. Without a network, the cached copy is used if there is one."""
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

    # 1. What the cache already holds.
    try:
        cached = snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=True)
    except (LocalEntryNotFoundError, RepositoryNotFoundError):
        cached = None
    except HFValidationError as error:
        raise UserError(f"{flag} {name}: {error}") from error
    # 2. Without a network it has to be enough.
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
    # 3. With a network: the current files, of which only the changed ones are downloaded.
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
    """huggingface_hub's cache folder (its documentation, Environment variables), found without importing the library."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{caches}/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def stay_offline() -> None:
    """Makes huggingface_hub and datasets use their cache for the rest of the process, instead of retrying for minutes."""
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True
    if "datasets" in sys.modules:
        sys.modules["datasets"].config.HF_HUB_OFFLINE = True
