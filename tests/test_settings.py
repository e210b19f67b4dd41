"""The knobs: read from the environment, refused by name."""

from pathlib import Path

import pytest

from agentic_fleet.errors import BadSetting
from agentic_fleet.settings import Settings, model_environment, table


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"FLEET_PORT": " ", "FLEET_MODEL": ""}) == Settings()


def test_every_kind_of_value_is_read() -> None:
    given = Settings.from_env(
        {
            "FLEET_PORT": "9000",
            "FLEET_RUN_TIMEOUT": "2.5",
            "FLEET_HOME": "/srv/fleet",
            "FLEET_ALLOWED_ORIGINS": "https://a.example, https://b.example,",
            "FLEET_ROSTER": "team.toml",
        }
    )
    assert (given.port, given.run_timeout, given.home) == (9000, 2.5, Path("/srv/fleet"))
    assert given.allowed_origins == ("https://a.example", "https://b.example")
    assert given.roster == Path("team.toml")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"FLEET_PORT": "eighty"}, "FLEET_PORT must be a whole number"),
        ({"FLEET_PORT": "70000"}, "FLEET_PORT must be between 0 and 65535"),
        ({"FLEET_RUN_TIMEOUT": "soon"}, "FLEET_RUN_TIMEOUT must be a number"),
        ({"FLEET_RUN_TIMEOUT": "nan"}, "FLEET_RUN_TIMEOUT must be between"),
        ({"FLEET_PLANNER": "oracle"}, "FLEET_PLANNER must be one of auto, model, classifier"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT must begin with http://"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ),
        ({"FLEET_MODEL": "gpt-x"}, "OPENAI_API_KEY or OPENAI_BASE_URL"),
        ({"FLEET_MODEL": "m", "OPENAI_BASE_URL": "localhost:11434"}, "OPENAI_BASE_URL must begin with http://"),
        ({"AZURE_OPENAI_ENDPOINT": "x.example"}, "AZURE_OPENAI_ENDPOINT must begin with http://"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x.example"}, "needs AZURE_OPENAI_DEPLOYMENT"),
        ({"FLEET_INSECURE": "perhaps"}, "FLEET_INSECURE must be 0 or 1"),
        ({"FLEET_API_KEYS": "alice:hush"}, "FLEET_API_KEYS: the key of alice must be"),
        ({"FLEET_OPERATORS": "alice"}, "FLEET_OPERATORS: FLEET_API_KEYS has no key of 'alice'"),
        (
            {"FLEET_API_KEYS": "alice:0123456789abcdef", "FLEET_OPERATORS": "alice, bob"},
            "FLEET_OPERATORS: FLEET_API_KEYS has no key of 'bob'",
        ),
        ({"FLEET_ALLOWED_ORIGINS": "https://a.example/"}, "FLEET_ALLOWED_ORIGINS: .* is no origin"),
        ({"FLEET_ALLOWED_ORIGINS": "*"}, "FLEET_ALLOWED_ORIGINS: .* is no origin"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(environ: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Settings.from_env(environ)


def test_a_model_that_is_a_file_needs_no_endpoint() -> None:
    assert Settings.from_env({"FLEET_MODEL": "models/tiny.GGUF"}).gguf == Path("models/tiny.GGUF")
    assert Settings.from_env({"FLEET_MODEL": "gpt-x", "OPENAI_API_KEY": "k"}).gguf is None


def test_keys_are_not_printed() -> None:
    assert "hush" not in repr(Settings.from_env({"OPENAI_API_KEY": "hush", "FLEET_MODEL": "m"}))
    assert "hush" not in repr(Settings.from_env({"FLEET_API_KEYS": "alice:hush-0123456789ab"}))


def test_a_process_of_ours_gets_the_model_and_no_clients_keys() -> None:
    given = Settings.from_env(
        {"FLEET_MODEL": "m", "OPENAI_API_KEY": "k", "FLEET_HOME": "/h", "FLEET_API_KEYS": "alice:hush-0123456789ab"}
    )
    passed = model_environment(given)
    assert "FLEET_API_KEYS" not in passed
    assert Settings.from_env(passed) == Settings(model="m", openai_api_key="k", home=Path("/h"))


def test_the_readme_lists_every_setting_as_it_is() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert table() in readme


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "fleet.example"])
def test_without_keys_another_address_than_this_machines_must_be_meant(host: str) -> None:
    with pytest.raises(BadSetting, match="FLEET_API_KEYS anybody who reaches"):
        Settings.from_env({"FLEET_HOST": host})
    assert Settings.from_env({"FLEET_HOST": host, "FLEET_INSECURE": "1"}).insecure
    assert Settings.from_env({"FLEET_HOST": host, "FLEET_API_KEYS": "alice:0123456789abcdef"}).host == host


def test_the_loopback_needs_no_keys() -> None:
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        assert Settings.from_env({"FLEET_HOST": host}).host == host
