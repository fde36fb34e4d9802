"""A model by its Hub name: a dead network ends in seconds and one line, a slow one is waited for. The Hub is a local server."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hint_grpo import hub
from hint_grpo.machine.errors import UserError


@pytest.fixture
def slow_hub(monkeypatch, tmp_path):
    """Answers after two seconds that it has no such model; yields the paths asked for."""
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            time.sleep(2)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)  # read at its import
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield asked
    server.shutdown()


def test_a_slow_network_is_not_a_broken_one(slow_hub) -> None:
    with pytest.raises(UserError, match="no such folder here and no such model on the Hub"):
        hub.find_model("owner/model", "--model_path")
    assert slow_hub


def test_a_refused_connection(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"owner/model is neither a folder.*cannot be reached \(127\.0\.0\.1"):
        hub.find_model("owner/model", "--model_path")


def test_a_proxy_is_what_is_reached(monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://huggingface.invalid")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"\(127\.0\.0\.1"):
        hub.check_network("it is missing")


def test_names_and_folders(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "model").mkdir(parents=True)
    assert hub.is_folder("owner/model")  # it is here
    assert not hub.is_folder("owner/other")
    for name in ("/a/b", "./a", "a/b/c", "model", "~/model", "owner/other/"):
        assert hub.is_folder(name), name
    assert hub.find_model("owner/model", "--model_path").samefile(tmp_path / "owner" / "model")
