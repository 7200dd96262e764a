"""Where a setting's value comes from, and what is refused."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.domain.errors import ConfigurationError
from thermocline.domain.tiers import StorageTier
from thermocline.domain.units import Seconds
from thermocline.wiring.presets.rendering import render_effective
from thermocline.wiring.settings import Settings


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings file and no variables but those of the test."""
    monkeypatch.chdir(tmp_path)
    for name in ("THERMOCLINE_CONFIG", "THERMOCLINE_DATA"):
        monkeypatch.delenv(name, raising=False)


def test_without_anything_the_defaults_are_in_force() -> None:
    assert Settings.load() == Settings()


def test_flags_win_over_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("thermocline.toml").write_text('[http]\nport = 1001\nhost = "127.0.0.2"\n[limits]\nmax_wait = "7s"\n')
    monkeypatch.setenv("THERMOCLINE_HTTP__PORT", "1002")
    monkeypatch.setenv("THERMOCLINE_HTTP__HOST", "127.0.0.3")

    settings = Settings.load(flags={"http": {"port": 1003}})

    assert settings.http.port == 1003
    assert settings.http.host == "127.0.0.3"
    assert settings.limits.max_wait == Seconds(7)
    assert settings.limits.max_waiting == Settings().limits.max_waiting


def test_a_named_file_wins_over_the_variable_and_the_default_file(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("thermocline.toml", "variable.toml", "named.toml"), start=1):
        Path(name).write_text(f"[http]\nport = {number}\n")

    assert Settings.load().http.port == 1
    monkeypatch.setenv("THERMOCLINE_CONFIG", "variable.toml")
    assert Settings.load().http.port == 2
    assert Settings.load(Path("named.toml")).http.port == 3


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_named_file_must_be_readable(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"settings file"):
        Settings.load(Path(name))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("porto = 1", "porto"),
        ("[http]\nporto = 1", "http.porto"),
        ("[objects.main]\nbucket = 'x'", "objects.main.bucket"),
        ("[tiers.hot]\nplacement='standard'\naccess_frequency='7d'\ncache_ttl='1h'\ncolour='red'", "tiers.hot.colour"),
        ("[nonsense]\nx = 1", "nonsense"),
    ],
)
def test_an_unknown_key_is_refused_by_its_name(text: str, key: str) -> None:
    Path("thermocline.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert f"{key}: there is no such setting" in str(caught.value)


def test_every_wrong_key_is_named_at_once() -> None:
    Path("thermocline.toml").write_text("first = 1\n[http]\nport = 99999\n[limits]\nmemory = 'lots'\n")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    for name in ("first", "http.port", "limits.memory"):
        assert name in str(caught.value)


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_HTTP__PORTO", "1")
    with pytest.raises(ConfigurationError, match=r"http\.porto"):
        Settings.load()


def test_variables_of_other_parts_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_TRACEBACK", "1")
    monkeypatch.setenv("THERMOCLINE_SOAK", "1")
    assert Settings.load() == Settings()


def test_a_value_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("sqlite:////elsewhere/catalog.db\n")
    monkeypatch.setenv("THERMOCLINE_CATALOG__URL__FILE", str(secret))
    assert Settings.load().catalog_url() == "sqlite:////elsewhere/catalog.db"


def test_a_value_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THERMOCLINE_CATALOG__URL__FILE", str(tmp_path / "gone"))
    with pytest.raises(ConfigurationError, match="THERMOCLINE_CATALOG__URL__FILE"):
        Settings.load()
    (tmp_path / "gone").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"), [("THERMOCLINE_", "x"), ("THERMOCLINE___FILE", "x"), ("THERMOCLINE_HTTP", "x")]
)
def test_a_variable_that_names_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError):
        Settings.load()


def test_variables_that_contradict_one_another_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_HTTP", "x")
    monkeypatch.setenv("THERMOCLINE_HTTP__PORT", "1")
    with pytest.raises(ConfigurationError, match="THERMOCLINE_HTTP"):
        Settings.load()


def test_lists_are_written_as_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERMOCLINE_HTTP__CORS_ORIGINS", '["https://a.example", "https://b.example"]')
    assert Settings.load().http.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("written", "size"), [('"64KiB"', 65536), ('"1.5 GB"', 1_500_000_000), ("4096", 4096), ('"0"', 0)]
)
def test_sizes(written: str, size: int) -> None:
    Path("thermocline.toml").write_text(f"[cache]\nmemory = {written}\n")
    assert Settings.load().cache.memory == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [('"250ms"', 0.25), ('"90s"', 90), ('"5m"', 300), ('"24h"', 86400), ('"7d"', 604800), ("3", 3)],
)
def test_durations(written: str, seconds: float) -> None:
    Path("thermocline.toml").write_text(f"[limits]\nmax_wait = {written}\n")
    assert Settings.load().limits.max_wait == seconds


@pytest.mark.parametrize("written", ['"soon"', '"-1s"', "-1", "inf", "nan", "true", "[]", '"1w"'])
def test_what_is_no_duration_is_refused(written: str) -> None:
    Path("thermocline.toml").write_text(f"[limits]\nmax_wait = {written}\n")
    with pytest.raises(ConfigurationError, match=r"limits\.max_wait"):
        Settings.load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[placements.standard]\nobjects = 'gone'", r"add \[objects\.gone\]"),
        ("[placements.'No Name']\nobjects = 'main'", "placement's name"),
        ("[placements.other]\nobjects = 'main'", "must be named 'standard'"),
        ("[tiers.hot]\nplacement='gone'\naccess_frequency='7d'\ncache_ttl='1h'", r"add \[placements\.gone\]"),
        ("[limits]\nobject_grace = '1h'", "object_grace must exceed"),
        ("[tiers.tepid]\nplacement='standard'\naccess_frequency='7d'\ncache_ttl='1h'", "tepid"),
        ("not toml at all", "not valid TOML"),
        ('data = "a\\u0000b"', "data: must not have NUL"),
        ('[catalog]\nurl = "sqlite:///a\\u0000b"', r"catalog\.url: must not have NUL"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(text: str, message: str) -> None:
    Path("thermocline.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        Settings.load()


def test_a_message_never_shows_the_value() -> None:
    Path("thermocline.toml").write_text("[cache]\nurl = 'redis://user:hunter2@host:port'\n")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().data = Path("x")  # type: ignore[misc]


def test_the_seeds_thresholds_are_the_defaults() -> None:
    days = [Settings().tier(tier).access_frequency / 86400 for tier in StorageTier]
    assert days == [7, 30, 365, 365]


def _names() -> st.SearchStrategy[str]:
    return st.text(alphabet="ABFILEHTP_", min_size=0, max_size=20).map(lambda tail: "THERMOCLINE_" + tail)


@given(variables=st.dictionaries(_names(), st.text(max_size=8).filter(lambda text: "\0" not in text), max_size=3))
def test_no_variable_breaks_loading_in_any_other_way(variables: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            try:
                patch.setenv(name, value)
            except UnicodeEncodeError:
                continue
        try:
            Settings.load()
        except ConfigurationError:
            return


def _leaves() -> st.SearchStrategy[Any]:
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)
    )


@given(flags=st.dictionaries(st.sampled_from([*Settings.model_fields, "x"]), _leaves(), max_size=3))
def test_no_value_breaks_loading_in_any_other_way(flags: dict[str, Any]) -> None:
    try:
        Settings.load(flags=flags)
    except ConfigurationError:
        return


def test_tables_are_completed_by_their_defaults() -> None:
    flags = {"cache": {"types": {"content": {"ttl": "5m"}}}, "tiers": {"hot": {"cache_ttl": "2h"}}}
    settings = Settings.load(flags=flags)
    assert settings.cache.types["content"].ttl == Seconds(300)
    assert settings.cache.types["content"].max_size == 50 * 2**20
    assert settings.tier(StorageTier.HOT).cache_ttl == Seconds(7200)
    assert settings.tier(StorageTier.HOT).placement == "standard"
    assert settings.tier(StorageTier.COLD).cache_ttl == Seconds(0)


S3 = '[objects.main]\nkind = "s3"\nbucket = "b"\n'
PLACED = '[placements.standard]\nobjects = "main"\n'
GLACIER = '[placements.cold]\nobjects = "main"\nstorage_class = "GLACIER"\n'
RESTORED = GLACIER + '[placements.cold.restore.bulk]\ndelay = "5h"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (S3, 'dialect = "generic" needs an endpoint'),
        ('[objects.main]\nkind = "s3"\ndialect = "aws"\n', "objects.main.bucket: Field required"),
        ('[objects.main]\nkind = "ftp"\n', "kind must be 'local' (a folder) or 's3' (a bucket)"),
        ("[objects.main]\nkind = 1\n", "kind must be 'local' (a folder) or 's3' (a bucket)"),
        (S3 + 'dialect = "minio"\n', "objects.main.dialect"),
        (S3 + 'endpoint = "s3.example"\n', "must be like https://host"),
        (S3 + 'endpoint = "https://user:secret@s3.example"\n', "must be like https://host"),
        (S3 + 'endpoint = "https://s3.example/bucket"\n', "must be like https://host"),
        (S3 + 'endpoint = "https://s3.example:x"\n', "must be like https://host"),
        (S3 + 'dialect = "aws"\naccess_key_id = "a"\n', "belong together"),
        (S3 + 'dialect = "aws"\nsession_token = "a"\n', "session_token belongs to an access_key_id"),
        (S3 + 'dialect = "aws"\nprofile = "p"\naccess_key_id = "a"\nsecret_access_key = "b"\n', "exclude each other"),
        (S3 + 'dialect = "aws"\npart_size = "1MiB"\n', "from 5MiB to 256MiB"),
        (S3 + 'dialect = "aws"\nrequest_timeout = "60s"\n' + PLACED, "request_timeout must be shorter than"),
        (S3 + 'dialect = "aws"\n' + PLACED + GLACIER, "must be restored before they are read; add"),
        (S3 + 'dialect = "r2"\nendpoint = "https://r2"\n' + PLACED + GLACIER, "does not exist in dialect 'r2'"),
        (S3 + 'dialect = "ceph"\nendpoint = "http://c"\n' + PLACED + RESTORED, "has no restores"),
        (
            S3 + 'dialect = "aws"\n' + PLACED + RESTORED.replace("GLACIER", "STANDARD_IA"),
            "STANDARD_IA need no restore; remove [restore]",
        ),
    ],
)
def test_a_bucket_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(tmp_path / "t.toml")
    assert told in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_secrets_of_a_bucket_show_in_no_print(tmp_path: Path) -> None:
    secrets = 'access_key_id = "shown"\nsecret_access_key = "hunter2"\nsession_token = "hunter3"\n'
    (tmp_path / "t.toml").write_text(S3 + 'dialect = "aws"\n' + secrets + PLACED)
    settings = Settings.load(tmp_path / "t.toml")
    for shown in (repr(settings), str(settings), settings.model_dump_json(), render_effective(settings)):
        assert "hunter" not in shown
        assert "shown" in shown


def test_what_is_in_force_can_be_read_again_with_a_shared_cache() -> None:
    flags = {"cache": {"url": "redis+cluster://user:hunter2@a:1,b:2", "password": "hunter2", "timeout": "250ms"}}
    settings = Settings.load(flags=flags)
    text = render_effective(settings)
    assert "hunter2" not in text
    assert Settings.model_validate(tomllib.loads(text)).cache.ca_file is None
    assert "hunter2" not in str(settings.cache.password)


@pytest.mark.parametrize(
    ("key", "value"),
    [("url", "postgres://a"), ("url", "redis://"), ("timeout", 0), ("retries", 0), ("retries", 21), ("l1_max_age", 0)],
)
def test_wrong_settings_of_the_shared_cache_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"cache\.{key}"):
        Settings.load(flags={"cache": {key: value}})
