"""Everything of uvicorn and httptools that the wire relies on without its being public: an upgrade fails here first."""

import inspect

import httptools
import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import HANDLED_SIGNALS, Server, ServerState

from tests.interfaces.http.wire.harness import App, Connection, FakeTransport, get, in_loop


def test_the_version_is_the_one_that_was_read() -> None:
    assert uvicorn.__version__ == "0.54.0"


@in_loop
async def test_protocol_attributes() -> None:
    client = Connection(kind=HttpToolsProtocol)
    for name in [
        "app",
        "config",
        "loop",
        "server_state",
        "connections",
        "tasks",
        "transport",
        "flow",
        "pipeline",
        "scope",
        "headers",
        "cycle",
        "parser",
        "expect_100_continue",
        "access_log",
        "timeout_keep_alive_task",
    ]:
        assert hasattr(client.protocol, name), name
    await client.ask(get("/missing"))
    assert client.protocol.url == b"/missing"
    assert client.protocol.scope["headers"] is client.protocol.headers
    client.transport.close()


def test_protocol_methods_and_their_parameters() -> None:
    expected = {
        "__init__": ["self", "config", "server_state", "app_state", "_loop"],
        "connection_made": ["self", "transport"],
        "connection_lost": ["self", "exc"],
        "eof_received": ["self"],
        "data_received": ["self", "data"],
        "on_message_begin": ["self"],
        "on_url": ["self", "url"],
        "on_header": ["self", "name", "value"],
        "on_headers_complete": ["self"],
        "on_body": ["self", "body"],
        "on_message_complete": ["self"],
        "on_response_complete": ["self"],
        "shutdown": ["self"],
        "pause_writing": ["self"],
        "resume_writing": ["self"],
        "_start_asgi_task": ["self", "cycle", "app"],
    }
    for name, parameters in expected.items():
        assert list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters) == parameters, name


def test_on_response_complete_does_what_our_own_replaces() -> None:
    source = inspect.getsource(HttpToolsProtocol.on_response_complete)
    for step in ("total_requests += 1", "is_closing()", "resume_reading()", "pipeline.pop()", "timeout_keep_alive"):
        assert step in source, step


@in_loop
async def test_cycle_attributes() -> None:
    client = Connection(kind=HttpToolsProtocol)
    await client.ask(get("/missing"))
    for name in [
        "scope",
        "disconnected",
        "message_event",
        "response_started",
        "response_complete",
        "keep_alive",
        "waiting_for_100_continue",
        "send_500_response",
        "send",
    ]:
        assert hasattr(client.protocol.cycle, name), name
    assert "await self.send_500_response()" in inspect.getsource(RequestResponseCycle.run_asgi)
    client.transport.close()


@in_loop
async def test_flow_control() -> None:
    flow = FlowControl(FakeTransport())
    assert (flow.read_paused, flow.write_paused) == (False, False)
    assert "self.flow.resume_reading()" in inspect.getsource(RequestResponseCycle.receive)


def test_server() -> None:
    assert list(inspect.signature(Server.serve).parameters) == ["self", "sockets"]
    assert list(inspect.signature(Server.startup).parameters) == ["self", "sockets"]
    assert list(inspect.signature(Server.handle_exit).parameters) == ["self", "sig", "frame"]
    assert "with self.capture_signals()" in inspect.getsource(Server.serve)
    assert len(HANDLED_SIGNALS) >= 2
    state = ServerState()
    assert (state.default_headers, state.connections, state.tasks) == ([], set(), set())
    # The cached date is recognised by identity: each tick has to make a new list.
    assert "self.server_state.default_headers = date_header +" in inspect.getsource(Server.on_tick)


def test_config_takes_any_callable_as_protocol() -> None:
    def protocol() -> None: ...

    config = Config(App(), http=protocol, interface="asgi3", ws="none", log_config=None)  # type: ignore[arg-type]
    config.load()
    assert getattr(config, "http_protocol_class") is protocol  # noqa: B009 - its declared type is a class
    assert config.ws_protocol_class is None


def test_parser() -> None:
    for name in [
        "feed_data",
        "get_method",
        "get_http_version",
        "should_keep_alive",
        "should_upgrade",
        "set_dangerous_leniencies",
    ]:
        assert hasattr(httptools.HttpRequestParser, name), name
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)
    assert not issubclass(httptools.HttpParserUpgrade, httptools.HttpParserError)
    assert "lenient_data_after_close=True" in inspect.getsource(httptools_impl.HttpToolsProtocol.__init__)
