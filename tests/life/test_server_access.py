"""Who may use a rollout server, and how the trainer reaches it: the token, proxies, addresses, and its caches."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from hint_grpo.machine.errors import UserError
from hint_grpo.rollout import vllm_common
from hint_grpo.rollout.access import (
    MIDDLEWARE,
    TOKEN_VARIABLE,
    bypass_proxies,
    is_loopback,
    local_address,
    server_session,
)
from hint_grpo.rollout.serve import with_authentication, with_needed_flags
from hint_grpo.rollout.server_process import wait_until_up
from hint_grpo.rollout.vllm_common import forget_prefixes
from hint_grpo.training.command_line import parse
from hint_grpo.training.run import rollout_server

pytest.importorskip("vllm")
TOKEN = "0123abcd"
WRONG = [None, "0123abce", "0123abc", "0123abcd0", "0123ABCD", ""]


# --- the server's side ---


@contextmanager
def running(app):
    """The URL of a uvicorn server for the app, on this machine alone."""
    import uvicorn

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def vllm_app():
    """vLLM's own server as `serve` starts it, development endpoints included, without an engine behind it."""
    from starlette.routing import WebSocketRoute
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_SERVER_DEV_MODE", "1")
        patch.setenv(TOKEN_VARIABLE, TOKEN)
        arguments = with_authentication(with_needed_flags(["MODEL"], has_cuda=False), TOKEN)
        app = build_app(make_arg_parser(FlexibleArgumentParser()).parse_args(arguments), ("generate",))

        async def greet(connection):
            await connection.accept()
            await connection.send_text("hello")

        app.router.routes.append(WebSocketRoute("/socket", greet))
        with running(app) as url:
            yield app, url


def test_every_endpoint_asks_for_the_token(vllm_app):
    app, url = vllm_app
    endpoints = {(method, route.path) for route in app.routes for method in getattr(route, "methods", None) or ()}
    endpoints |= {("OPTIONS", "/health"), ("GET", "/no/such/path"), ("POST", "/metrics/")}
    needed = {
        "/collective_rpc", "/inference/v1/generate", "/reset_prefix_cache", "/reset_encoder_cache", "/server_info", "/health",
        "/init_weight_transfer_engine", "/start_weight_update", "/update_weights", "/finish_weight_update", "/v1/models",
    }  # fmt: skip
    assert needed <= {path for _, path in endpoints}
    for token in WRONG:
        with server_session(token) as session:
            answers = {(m, p): session.request(m, url + p, json={}, timeout=60).status_code for m, p in endpoints}
        assert set(answers.values()) == {401}, answers
    with server_session(TOKEN) as session:
        assert session.get(f"{url}/openapi.json", timeout=60).status_code == 200
        assert session.post(f"{url}/collective_rpc", json={}, timeout=60).status_code == 400  # read, and found empty


def test_other_forms_of_the_header(vllm_app):
    _, url = vllm_app

    def status(*values: str) -> int:
        head = "".join(f"Authorization: {value}\r\n" for value in values)
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            connection.sendall(f"GET /openapi.json HTTP/1.1\r\nHost: x\r\n{head}Connection: close\r\n\r\n".encode())
            return int(connection.makefile("rb").readline().split()[1])

    assert status(f"bearer {TOKEN}") == 200
    assert status(TOKEN) == status(f"Basic {TOKEN}") == status(f"Bearer  {TOKEN}") == 401
    assert status("Bearer wrong", f"Bearer {TOKEN}") == 401  # two of them: neither counts


def test_websockets_are_refused(vllm_app):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    _, url = vllm_app
    url = url.replace("http", "ws") + "/socket"
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        with pytest.raises(InvalidStatus, match="403"), connect(url, additional_headers=headers, proxy=None):
            pass
    with connect(url, additional_headers={"Authorization": f"Bearer {TOKEN}"}, proxy=None) as connection:
        assert connection.recv(timeout=60) == "hello"


def test_no_server_without_its_token(monkeypatch):
    """A middleware that finds no token must not let everybody in."""
    from hint_grpo.rollout.access import TokenRequired

    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match=TOKEN_VARIABLE):
        TokenRequired(None)


# --- the flags of `serve` ---


def served(*arguments: str, token: str | None = None) -> list[str]:
    return with_authentication(with_needed_flags(list(arguments), has_cuda=False), token)


def test_a_host_that_others_reach_needs_a_token_or_a_word():
    for host in (["--host", "0.0.0.0"], ["--host=10.0.0.7"], ["--host", "::"], ["--host", ""], ["--host", "node9"]):
        with pytest.raises(UserError, match=f"set {TOKEN_VARIABLE} .* or add --allow_unauthenticated"):
            served("MODEL", *host)
        assert served("MODEL", *host, token=TOKEN)[-2:] == ["--middleware", MIDDLEWARE]
        for flag in ("--allow_unauthenticated", "--allow-unauthenticated"):
            assert not {flag, MIDDLEWARE} & set(served("MODEL", flag, *host))
    with pytest.raises(UserError):
        served("MODEL", "--host", "127.0.0.1", "--host", "0.0.0.0")  # the last one counts


def test_this_machine_alone_needs_none():
    for host in ([], ["--host", "127.0.0.1"], ["--host=localhost"], ["--host", "::1"]):
        assert MIDDLEWARE not in served("MODEL", *host)
    assert served("MODEL", "--middleware", "my.own", token=TOKEN)[-1] == MIDDLEWARE
    assert TOKEN not in " ".join(served("MODEL", token=TOKEN))
    assert is_loopback("127.8.9.1")
    assert not is_loopback("127.0.0.1.example.org")


def test_vllms_own_key_is_not_taken_for_it(monkeypatch):
    with pytest.raises(UserError, match=TOKEN_VARIABLE):
        served("MODEL", "--api-key", "k")
    monkeypatch.setenv("VLLM_API_KEY", "k")
    with pytest.raises(UserError, match=TOKEN_VARIABLE):
        served("MODEL")
    served("MODEL", token=TOKEN)


def test_videos_are_off_unless_asked_for():
    flags = served("MODEL")
    assert json.loads(flags[flags.index("--limit-mm-per-prompt") + 1]) == {"image": 1, "video": 0}
    assert served("MODEL", "--limit-mm-per-prompt.video", "1").count("--limit-mm-per-prompt") == 0
    assert served("MODEL", '--limit_mm_per_prompt={"image": 2}').count("--limit-mm-per-prompt") == 0


# --- the trainer's side ---


@contextmanager
def answering(answer):
    """The URL of a server on this machine: answer(path, headers) -> (status, object to send as JSON); and its requests."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, value = answer(self.path, self.headers)
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def guarded(path, headers):
    if headers.get("Authorization") != f"Bearer {TOKEN}":
        return 401, {}
    return 200, {"data": [{"id": "toy"}]}


def forbidden(path, headers):
    return 403, "blocked by the proxy"


@pytest.fixture
def proxy(monkeypatch):
    """A cluster's proxy, which refuses what is inside the cluster; the requests that it was asked for."""
    with answering(forbidden) as (url, seen):
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, url)
        for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "")  # so that they are restored
        yield seen


def test_trls_client_takes_no_proxy_and_sends_the_token(proxy):
    from hint_grpo.rollout.vllm_server import WeightClient

    with answering(guarded) as (url, seen):
        assert requests.get(url, timeout=60).status_code == 403  # this proxy does stand in the way
        proxy.clear()
        wait_until_up(url, 60, None, TOKEN)
        client = WeightClient(url, TOKEN, group_port=1)
        assert client.model == "toy"
        assert not proxy
        assert seen == ["/health", "/v1/models"]


def test_other_libraries_reach_the_server_too(proxy):
    with answering(guarded) as (url, _):
        bypass_proxies(url)
        assert requests.get(url, timeout=60).status_code == 401  # the server's own answer
        assert not proxy


def test_exceptions_from_the_proxy_are_kept():
    environment = {"NO_PROXY": ".cluster, 10.0.0.1"}
    bypass_proxies("http://node9:8000/", environment)
    assert environment == dict.fromkeys(("no_proxy", "NO_PROXY"), ".cluster,10.0.0.1,node9")
    bypass_proxies("http://[fd00::9]:8000", environment)
    assert environment["no_proxy"] == ".cluster,10.0.0.1,node9,fd00::9"


@pytest.mark.parametrize("token", [None, "other"])
def test_a_refused_token_is_one_line_before_a_model_loads(token, world, tmp_path, monkeypatch):
    if token:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    else:
        monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with answering(guarded) as (url, _):
        flags = {
            "model_name_or_path": world.models["Qwen2.5-VL"],
            "data_path": world.train_data,
            "output_dir": tmp_path,
            "use_cpu": "true",
            "use_vllm": "true",
            "vllm_server_base_url": url,
        }
        _, training, model = parse([word for name, value in flags.items() for word in (f"--{name}", str(value))])
        with pytest.raises(UserError, match=rf"{url} refuses .* {TOKEN_VARIABLE}: set it"):
            rollout_server(training, model)
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        with rollout_server(training, model) as server:
            assert server is None


def test_a_token_that_no_header_can_carry(monkeypatch):
    from hint_grpo.rollout.access import token_of_the_environment

    for token in ("two words", "päss", "a\nb"):
        monkeypatch.setenv(TOKEN_VARIABLE, token)
        with pytest.raises(UserError, match=TOKEN_VARIABLE):
            token_of_the_environment()
    monkeypatch.setenv(TOKEN_VARIABLE, f"{TOKEN}\n")  # as a file gives it
    assert token_of_the_environment() == TOKEN


def test_weights_go_by_the_address_that_the_server_sees():
    """TRL takes the address of the default route, whatever network the server is in."""
    outside = socket.gethostbyname(socket.gethostname())
    for host in {"127.0.0.1", outside}:
        with socket.create_server((host, 0)) as listener:
            assert local_address(f"http://{host}:{listener.getsockname()[1]}") == host


def test_the_reset_is_repeated_and_then_given_up(monkeypatch):
    monkeypatch.setattr(vllm_common, "RESET_PAUSE_S", 0)
    answers = iter([False, False, True, True])
    forget_prefixes(lambda: next(answers))
    assert list(answers) == [True]  # it stopped at the first success
    with pytest.raises(RuntimeError, match="prefix cache in 20 attempts"):
        forget_prefixes(lambda: False)


def test_the_servers_answer_about_its_caches_counts(monkeypatch):
    from hint_grpo.rollout.vllm_server import ServedVLLM

    monkeypatch.setattr(vllm_common, "RESET_PAUSE_S", 0)
    successes = iter([False, True])

    def answer(path, headers):
        return 200, {"success": next(successes)} if path == "/reset_prefix_cache" else {}

    with answering(answer) as (url, seen):
        sampler = ServedVLLM.__new__(ServedVLLM)  # without a model: only the requests count here
        sampler.url, sampler.server, sampler.token, sampler.session = url, None, None, server_session(None)
        sampler._forget_caches()
    assert seen == ["/reset_encoder_cache", "/reset_prefix_cache", "/reset_prefix_cache"]
