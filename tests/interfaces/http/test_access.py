"""Who may do what: every route, every kind of caller."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.interfaces.http.harness import Answer, Client, Running, in_loop, running_app
from thermocline.domain.access import Scope
from thermocline.domain.units import Seconds

OK = 200
CALLERS = ("open", "none", "wrong", "read", "write", "admin", "elsewhere", "both")

# What each caller gets, in that order. "mine" is private, "ours" is public; "elsewhere" may read and write other/ only.
MATRIX = {
    (method, path): dict(zip(CALLERS, map(int, statuses.split()), strict=True))
    for method, path, statuses in (
        ("GET", "/v1/content/mine", "200 404 404 200 404 404 404 200"),
        ("HEAD", "/v1/content/mine", "200 404 404 200 404 404 404 200"),
        ("GET", "/v1/content/ours", "200 200 200 200 200 200 200 200"),
        ("HEAD", "/v1/content/ours", "200 200 200 200 200 200 200 200"),
        ("GET", "/i/{mine}/mine", "200 404 404 200 404 404 404 200"),
        ("GET", "/i/{ours}/ours", "200 200 200 200 200 200 200 200"),
        ("PUT", "/v1/content/mine", "200 401 401 403 200 403 403 200"),
        ("PUT", "/v1/content/ours", "200 401 401 403 200 403 403 200"),
        ("DELETE", "/v1/content/nothing", "204 401 401 403 204 403 403 204"),
        ("OPTIONS", "/v1/content/mine", "204 204 204 204 204 204 204 204"),
        ("GET", "/v1/content", "200 401 401 200 403 403 403 200"),
        ("GET", "/v1/content?prefix=other/", "200 401 401 200 403 403 200 200"),
        ("GET", "/v1/content?prefix=oth", "200 401 401 200 403 403 403 200"),
        ("GET", "/v1/info/ours", "200 401 401 200 403 403 403 200"),
        ("GET", "/v1/info/nothing", "404 401 401 404 403 403 403 404"),
        ("PATCH", "/v1/info/mine", "200 401 401 403 200 403 403 200"),
        ("POST", "/v1/invalidate", "200 401 401 403 200 403 403 200"),
        ("GET", "/v1/stats/work", "200 401 401 200 403 200 403 200"),
        ("GET", "/v1/stats/cache", "200 401 401 200 403 200 403 200"),
        ("GET", "/v1/stats/storage", "200 401 401 200 403 200 403 200"),
        ("GET", "/metrics", "200 401 401 200 403 200 403 200"),
        ("GET", "/healthz", "200 200 200 200 200 200 200 200"),
        ("GET", "/readyz", "200 200 200 200 200 200 200 200"),
        ("GET", "/docs", "200 200 200 200 200 200 200 200"),
        ("GET", "/openapi.json", "200 200 200 200 200 200 200 200"),
        ("GET", "/nowhere", "404 404 404 404 404 404 404 404"),
        ("DELETE", "/v1/content/ours", "204 401 401 403 204 403 403 204"),
    )
}


async def callers(run: Running) -> dict[str, Client]:
    return {
        "none": run.as_(None),
        "wrong": run.as_("tc_" + "0" * 12 + "_" + "1" * 48),
        "read": run.as_(await run.new_token("read")),
        "write": run.as_(await run.new_token("write")),
        "admin": run.as_(await run.new_token("admin")),
        "elsewhere": run.as_(await run.new_token("read", "write", prefix="other/")),
        "both": run.as_(await run.new_token("read", "write")),
    }


async def prepare(client: Client) -> dict[str, int]:
    mine = await client.store("mine", b"secret")
    ours = await client.store("ours", b"shared", Thermocline_Visibility="public")
    return {"mine": mine.json()["revision"], "ours": ours.json()["revision"]}


async def try_all(client: Client, caller: str, revisions: dict[str, int]) -> None:
    for (method, path), expected in MATRIX.items():
        body = {"PUT": b"new", "PATCH": b'{"metadata": {"a": 1}}', "POST": b'{"pattern": "nothing/*"}'}.get(method, b"")
        answer = await client.ask(method, path.format(**revisions), body=body)
        wanted = {200, 201} if expected[caller] == OK else {expected[caller]}
        assert answer.status in wanted, (method, path, caller, answer)
        if method == "HEAD" or answer.status < 400:
            continue
        assert (
            answer.problem
            in {
                401: {"unauthorized"},
                403: {"forbidden"},
                404: {"content-not-found", "not-found"},
            }[answer.status]
        )
        assert (answer.get("www-authenticate") is not None) == (answer.status == 401)
        assert b"secret" not in answer.body


@pytest.mark.parametrize("caller", CALLERS)
def test_every_route_for_every_caller(tmp_path: Path, caller: str) -> None:
    @in_loop
    async def check() -> None:
        async with running_app(tmp_path) as run:
            if caller == "open":
                revisions = await prepare(run.client)
                clients = {"open": run.client}
            else:
                clients = await callers(run)
                revisions = await prepare(clients["both"])
            await try_all(clients[caller], caller, revisions)
            if caller == "open":
                return
            # Once more with the contents in memory.
            revisions = await prepare(clients["both"])
            for path in ("/v1/content/mine", "/v1/content/ours"):
                await clients["both"].get(path)
            await try_all(clients[caller], caller, revisions)

    check()


@in_loop
async def test_hidden_and_missing_content_look_the_same(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        clients = await callers(run)
        revision = (await clients["both"].store("hidden", b"x" * 100)).json()["revision"]
        await clients["both"].get("/v1/content/hidden")  # in memory
        requests = [
            ("GET", "/v1/content/{}", {}),
            ("HEAD", "/v1/content/{}", {}),
            ("GET", "/v1/content/{}", {"Range": "bytes=500-"}),
            ("GET", "/v1/content/{}", {"If-None-Match": "*"}),
            ("GET", "/v1/content/{}", {"If-Match": '"x"'}),
            ("GET", f"/i/{revision}/{{}}", {}),
            ("GET", "/v1/info/{}", {}),
        ]
        for name in ("none", "wrong", "write", "elsewhere"):
            for method, path, headers in requests:
                known = headers | {"X-Request-Id": "same"}
                hidden = await clients[name].ask(method, path.format("hidden"), known)
                missing = await clients[name].ask(method, path.format("absent"), known)
                assert hidden.status == missing.status
                assert hidden.fields == missing.fields
                assert hidden.body == missing.body.replace(b"absent", b"hidden")


@in_loop
async def test_hidden_content_costs_the_catalog_as_much_as_missing(
    tmp_path: Path,
) -> None:
    async with running_app(tmp_path) as run:
        clients = await callers(run)
        await clients["both"].store("hidden", b"x" * 100)
        await clients["both"].get("/v1/content/hidden")
        looked: list[str] = []
        real = run.services.reading._records.find
        with pytest.MonkeyPatch.context() as patch:

            async def find(content_id: str) -> object:
                looked.append(content_id)
                return await real(content_id)  # type: ignore[arg-type]

            patch.setattr(run.services.reading, "_records", SimpleNamespace(find=find))
            for content_id in ("hidden", "absent"):
                assert (await clients["none"].get(f"/v1/content/{content_id}")).status == 404
        assert looked == ["hidden", "absent"]


@in_loop
async def test_tokens_end(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        authorizing = run.services.authorizing
        token = await run.new_token("read", "write")
        client = run.as_(token)
        await client.store("a", b"x")
        assert await authorizing.revoke(token.split("_")[1])
        assert (await client.get("/v1/content/a")).status == 404
        assert (await client.put("/v1/content/a", b"y")).status == 401
        short = run.as_(await authorizing.create(scopes=[Scope.READ, Scope.WRITE], expires_in=Seconds(60)))
        assert (await short.get("/v1/content/a")).status == 200
        run.clock.advance(61)
        assert (await short.get("/v1/content/a")).status == 404
        assert (await run.client.get("/v1/content")).status == 401, "all tokens are gone, and nothing is open again"


@in_loop
async def test_other_schemes_and_shapes_are_no_token(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        token = await run.new_token("read")
        for value, status in [
            (f"Bearer {token}", 200),
            (f"bearer   {token} ", 200),
            (f"Basic {token}", 401),
            (token, 401),
            ("Bearer", 401),
            ("Bearer ", 401),
            (f"Bearer {token}, Bearer {token}", 401),
            (f"Bearer {token.upper()}", 401),
        ]:
            answer = await run.client.get("/v1/content", {"Authorization": value})
            assert answer.status == status, value


@in_loop
async def test_while_open_only_this_machine_may_call(tmp_path: Path) -> None:
    settings = {"allowed_hosts": ["files.internal"], "cors_origins": ["https://app.example", "*"]}
    async with running_app(tmp_path, http=settings) as run:
        await run.client.store("a", b"x", Thermocline_Visibility="public")
        url = "/v1/content/a"

        async def status(method: str = "GET", host: str | None = "localhost:80", **headers: str) -> int:
            answer: Answer = await run.client.ask(
                method, url, {name.replace("_", "-"): value for name, value in headers.items()}, host=host
            )
            return answer.status

        for host in ("localhost", "LOCALHOST:9", "127.0.0.1", "127.1.2.3:80", "[::1]:8080", "files.internal:80", None):
            assert await status(host=host) == 200, host
        for host in (
            "evil.com",
            "evil.com:8080",
            "localhost.evil.com",
            "10.0.0.1",
            "[::]",
            "",
            "127.0.0.1.nip.io",
            "x" * 400,
        ):
            assert await status(host=host) == 403, host
        for origin in ("https://evil.com", "null", "http://evil.com:8080", "http://localhost.evil.com", "*", ""):
            assert await status(Origin=origin) == 403, origin
        for origin in ("http://localhost:3000", "http://127.0.0.1", "http://files.internal", "https://app.example"):
            assert await status(Origin=origin) == 200, origin
        assert await status("DELETE", Origin="https://app.example") == 403, "listed pages may read only"
        assert await status(Sec_Fetch_Site="cross-site") == 403
        assert await status(Origin="https://app.example", Sec_Fetch_Site="cross-site") == 200
        for site in ("same-origin", "same-site", "none"):
            assert await status(Sec_Fetch_Site=site) == 200
        for peer, expected in ((("192.168.0.5", 1), 403), (("::1", 1), 200), (None, 200)):
            assert (await Client(run.app, peer=peer).get(url)).status == expected
        foreign = await run.client.get("/healthz", host="evil.com")
        assert (foreign.status, foreign.problem) == (403, "forbidden")

        token = await run.new_token("read")
        assert await status(host="evil.com") == 200, "public content, now that tokens guard the rest"
        assert await status("GET", Origin="https://evil.com") == 200
        assert (await Client(run.app, token, peer=("192.168.0.5", 1)).get(url)).status == 200


@in_loop
async def test_nothing_of_a_body_is_asked_for_before_the_right_to_send_it_is_clear(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        clients = await callers(run)
        await clients["both"].store("there", b"x")
        asked: list[str] = []

        async def ask(name: str, target: str, headers: dict[str, str]) -> int:
            app = run.app

            async def watched(scope: object, receive: object, send: object) -> None:
                async def counted() -> object:
                    asked.append(target)
                    return await receive()  # type: ignore[operator]

                await app(scope, counted, send)  # type: ignore[arg-type]

            return (await Client(watched, clients[name].token).put(target, b"body", headers)).status

        assert await ask("none", "/v1/content/a", {}) == 401
        assert await ask("read", "/v1/content/a", {}) == 403
        assert await ask("both", "/v1/content/a%00", {}) == 400
        assert await ask("both", "/v1/content/a", {"Content-Encoding": "gzip"}) == 415
        assert await ask("both", "/v1/content/a", {"Content-Length": str(10**15)}) == 413
        assert await ask("both", "/v1/content/there", {"If-None-Match": "*"}) == 412
        assert await ask("both", "/v1/content/a", {"If-Match": "*"}) == 412
        assert asked == []
        assert await ask("both", "/v1/content/a", {}) == 201
        assert asked


@in_loop
async def test_user_context(tmp_path: Path) -> None:
    async with running_app(tmp_path) as run:
        await run.client.store("a", b"x", Thermocline_Visibility="public")
        bad = ["[]", "1", "nonsense", '{"a":' + '"x' * 600, '{"a": "' + "x" * 1024 + '"}', "[" * 1024, ""]

        async def get(client: Client, context: str) -> Answer:
            return await client.get("/v1/content/a", {"Thermocline-User-Context": context})

        for scopes in ((), ("read",)):
            client = run.as_(await run.new_token(*scopes)) if scopes else run.client
            assert (await get(client, '{"user_id": "42"}')).status == 200
            for context in bad:
                answer = await get(client, context)
                assert (answer.status, answer.problem) == (400, "invalid-input")
                assert "xxx" not in answer.json()["detail"]
        for context in bad:
            assert (await get(run.as_(None), context)).status == 200, "not taken from callers who are nobody"


@in_loop
async def test_cors(tmp_path: Path) -> None:
    async with running_app(tmp_path, http={"cors_origins": ["https://app.example"]}) as run:
        owner = run.as_(await run.new_token("read", "write"))
        await owner.store("a", b"x", Thermocline_Visibility="public")
        url = "/v1/content/a"
        plain = await run.client.get(url)
        assert plain["vary"] == "Origin"
        assert plain.get("access-control-allow-origin") is None
        listed = await run.client.get(url, {"Origin": "https://app.example"})
        assert listed["access-control-allow-origin"] == "https://app.example"
        assert "etag" in listed["access-control-expose-headers"]
        assert listed["vary"] == "Origin"
        other = await run.client.get(url, {"Origin": "https://other.example"})
        assert (other.status, other.get("access-control-allow-origin")) == (200, None)
        same = await run.client.get(url, {"Origin": "https://app.example", "If-None-Match": listed["etag"]})
        assert (same.status, same["vary"]) == (304, "Origin")
        missing = await run.client.get("/v1/content/none", {"Origin": "https://app.example"})
        assert (missing.status, missing["access-control-allow-origin"]) == (404, "https://app.example")
        preflight = await run.client.ask(
            "OPTIONS", url, {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
        )
        assert (preflight.status, preflight.body) == (204, b"")
        assert preflight["access-control-allow-methods"] == "GET, HEAD"
        assert preflight["allow"] == "GET, HEAD, PUT, DELETE, OPTIONS"
