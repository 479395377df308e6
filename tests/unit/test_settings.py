"""The configuration file: what it may say, who may have written it, and how errors read."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp_stapling import settings as settings_module
from ocsp_stapling.problem import Problem
from ocsp_stapling.settings import PATH_VARIABLE, Settings, load, parse

SHIPPED = Path(__file__).parents[2] / "plugin" / "config.toml"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="ownership is only checked for root")


def fault(text: str) -> Problem:
    with pytest.raises(Problem) as caught:
        parse(text, "/etc/x.toml")
    assert caught.value.code == "config-invalid"
    assert "/etc/x.toml" in caught.value.sentence
    return caught.value


def names(kind: Any) -> dict[str, Any]:
    """Every setting of a section as the file writes it."""
    return {
        f.name: names(f.default) if dataclasses.is_dataclass(f.default) else f
        for f in dataclasses.fields(kind)
        if f.name != "authorities"
    }


def test_shipped_file_is_exactly_the_defaults() -> None:
    assert parse(SHIPPED.read_text(), str(SHIPPED)) == Settings()


def test_shipped_file_names_every_setting() -> None:
    def keys(table: dict[str, Any]) -> dict[str, Any]:
        return {key: keys(value) if isinstance(value, dict) else None for key, value in table.items()}

    assert keys(tomllib.loads(SHIPPED.read_text())) == keys(names(Settings))


def test_shipped_example_of_an_authority_is_valid() -> None:
    lines = SHIPPED.read_text().partition("# [[authority]]\n")[2].splitlines()
    example = "[[authority]]\n" + "\n".join(line.removeprefix("# ") for line in lines)
    (authority,) = parse(example, "example").authorities
    assert authority.responders == ("ocsp.example.com",)
    given_keys = set(tomllib.loads(example)["authority"][0])
    assert given_keys == {f.name for f in dataclasses.fields(authority)}


def test_every_setting_can_be_set() -> None:
    settings = parse(
        """
        state_directory = "/srv/state"
        [probe]
        timeout_seconds = 1
        deadline_seconds = 2.5
        allow_networks = ["10.0.0.0/8", "fd00::/8"]
        public_resolvers = []
        [status_pages]
        enabled = false
        timeout_seconds = 2
        cache_seconds = 0
        proxy = "http://proxy.example.com:3128"
        ca_bundle = "/etc/pki/own.pem"
        [elsewhere]
        ssh_hosts = ["other", "root@other.example.com", "[2001:db8::1]"]
        """,
        "x",
    )
    assert settings.state_directory == Path("/srv/state")
    assert settings.probe.allow_networks == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("fd00::/8"),
    )
    assert (settings.probe.timeout_seconds, settings.probe.deadline_seconds) == (1.0, 2.5)
    assert settings.probe.public_resolvers == ()
    assert not settings.status_pages.enabled
    assert settings.elsewhere.ssh_hosts[2] == "[2001:db8::1]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[probe]\ntimeout_second = 3",
            "probe.timeout_second is not a setting (did you mean timeout_seconds?)",
        ),
        ("[prob]", "prob is not a setting (did you mean probe?)"),
        ("zzz = 1", "zzz is not a setting (known here: state_directory, probe"),
        ("authorities = []", "authorities is not a setting (did you mean authority?)"),
        ("probe = 3", "probe must be a section, written [probe]"),
        ("[probe]\ntimeout_seconds = '3'", "must be a number of seconds from 0.1 to 30, not '3'"),
        ("[probe]\ntimeout_seconds = true", "must be a number of seconds from 0.1 to 30, not True"),
        (
            "[probe]\ntimeout_seconds = 31",
            "probe.timeout_seconds must be a number of seconds from 0.1 to 30, not 31",
        ),
        ("[probe]\ntimeout_seconds = nan", "must be a number"),
        ("[probe]\ntimeout_seconds = inf", "must be a number"),
        ("[probe]\ntimeout_seconds = 9", "deadline_seconds must not be smaller than probe.timeout_seconds"),
        ("[probe]\nallow_networks = '10.0.0.0/8'", "must be a list of networks"),
        ("[probe]\nallow_networks = ['10.0.0.1/8']", "must be a list of networks"),
        ("[probe]\nallow_networks = [10]", "must be a list of networks"),
        ("[probe]\npublic_resolvers = ['dns.example.com']", "must be a list of IP addresses"),
        ("[status_pages]\nenabled = 1", "status_pages.enabled must be true or false"),
        ("[status_pages]\nproxy = 'socks5://x'", "must be a proxy such as"),
        ("[status_pages]\nca_bundle = 'own.pem'", "must be an absolute path"),
        ("[elsewhere]\nssh_hosts = ['-oProxyCommand=x']", "must be a list of ssh hosts"),
        ("[elsewhere]\nssh_hosts = ['a b']", "must be a list of ssh hosts"),
        ("[elsewhere]\nssh_hosts = ['root@-oX']", "must be a list of ssh hosts"),
        ("state_directory = 'var/lib'", "state_directory must be an absolute path"),
        ("authority = 3", "must be a list of tables"),
        ("authority = [3]", "must be a list of tables"),
        ("[[authority]]\nresponders = ['ocsp.example.com']", "authority[1].name is missing"),
        ("[[authority]]\nname = 'X'", "authority[1] needs responders or issuers"),
        ("[[authority]]\nname = 'X'\nresponders = ['com']", "must be a list of host names"),
        ("[[authority]]\nname = 'X'\nissuers = ['*']", "must be a list of organisation names"),
        ("[[authority]]\nname = 'X'\nissuers = ['X']\nkind = 'rss'", "must be one of"),
        ("[[authority]]\nname = 'X'\nissuers = ['X']\nkind = 'statusio'", "status_page is missing"),
        (
            "[[authority]]\nname = 'X'\nissuers = ['X']\nstatus_page = 'http://x.example'",
            'begins with "https://"',
        ),
        ("[[authority]]\nname = 'X'\nissuers = ['X']\nstatus_id = '../../x'", "24 hexadecimal digits"),
        ("[[authority]]\nname = 'X'\nissuers = ['X']\nocsp_ended = 'soon'", "a date such as"),
    ],
)
def test_error_names_the_key_and_what_is_allowed(text: str, expected: str) -> None:
    assert expected.replace("not '3'", "not '3'").replace("'True'", "True").replace("'31'", "31") in (
        fault(text).sentence
    )


def test_further_errors_are_listed_in_the_detail() -> None:
    problem = fault("[probe]\na = 1\nb = 2\n[elsewhere]\nssh_hosts = 1")
    assert "probe.a" in problem.sentence
    assert "probe.b" in problem.detail
    assert "elsewhere.ssh_hosts" in problem.detail


def test_control_characters_in_a_key_do_not_reach_the_terminal() -> None:
    assert fault('"\\u001b[31m\\u202e" = 1').sentence.isprintable()


def test_missing_default_file_means_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    monkeypatch.setattr(settings_module, "DEFAULT_PATH", tmp_path / "none.toml")
    assert load() == Settings()


def test_a_named_file_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "none.toml"))
    with pytest.raises(Problem) as caught:
        load()
    assert caught.value.code == "config-unreadable"


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[probe]\ntimeout_seconds = 1\n")
    monkeypatch.setenv(PATH_VARIABLE, str(file))
    assert load().probe.timeout_seconds == 1.0


def test_a_relative_path_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH_VARIABLE, "config.toml")
    with pytest.raises(Problem, match="absolute path"):
        load()


@as_root
@pytest.mark.parametrize(("mode", "owner"), [(0o664, 0), (0o646, 0), (0o644, 65534)])
def test_root_refuses_a_file_others_could_have_written(tmp_path: Path, mode: int, owner: int) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    file.chmod(mode)
    os.chown(file, owner, owner)
    with pytest.raises(Problem) as caught:
        load(file)
    assert caught.value.code == "config-invalid"
    assert "chown root:root" in caught.value.sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff", "UTF-8"), (b"#" * 1_048_577, "1 MiB"), (b"[", "TOML"), (b"a=" + b"[" * 100_000, "TOML")],
    ids=["not text", "too large", "not TOML", "too deep"],
)
def test_what_is_not_a_configuration_is_said_plainly(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(Problem, match=said):
        load(file)


def test_a_directory_or_fifo_is_refused_without_hanging(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(Problem, match="not a regular file"):
            load(place)


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)


@given(st.text())
def test_any_text_is_settings_or_a_problem(text: str) -> None:
    try:
        assert isinstance(parse(text, "x"), Settings)
    except Problem as problem:
        assert problem.code == "config-invalid"


@given(
    st.sampled_from(
        [
            (section, key)
            for section, keys in names(Settings).items()
            if isinstance(keys, dict)
            for key in keys
        ]
    ),
    VALUES,
)
def test_any_value_of_any_setting_is_taken_or_named(place: tuple[str, str], value: Any) -> None:
    section, key = place
    faults: list[str] = []
    settings_module._section(Settings, {section: {key: value}}, "", faults)
    assert all(f"{section}.{key} must be " in found and found.isprintable() for found in faults)
