"""Every knob of the service: environment name, default, unit and what is allowed. The environment is the only source.

`Settings.from_env` reads them all at start; a value that is not allowed raises BadSetting with the variable's name.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from agentic_fleet import proxies
from agentic_fleet.errors import BadSetting
from agentic_fleet.keys import Keys

_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:_-]+(:[0-9]{1,5})?")  # RFC 6454: no path, not even a slash


def _knob(
    env: str,
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:
    return field(
        default=default,
        repr=not secret,
        metadata={"env": env, "help": help, "low": low, "high": high, "choices": choices, "secret": secret},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    host: str = _knob("FLEET_HOST", "127.0.0.1", "address to listen on")
    port: int = _knob("FLEET_PORT", 8000, "port to listen on; 0 takes a free one", low=0, high=65535)
    api_keys: tuple[str, ...] = _knob(
        "FLEET_API_KEYS",
        (),
        "who may call: name:key pairs, comma-separated; none: this machine",
        secret=True,
    )
    insecure: bool = _knob("FLEET_INSECURE", False, "1 lets a service without keys listen beyond this machine")
    allowed_hosts: tuple[str, ...] = _knob(
        "FLEET_ALLOWED_HOSTS",
        (),
        "host names that requests may name, comma-separated; none: any with keys, else those of this machine",
    )
    operators: tuple[str, ...] = _knob(
        "FLEET_OPERATORS", (), "callers who may change how the team decides for all, comma-separated; none: everybody"
    )
    home: Path = _knob("FLEET_HOME", Path(".var"), "folder for the database; created at start")

    model: str | None = _knob("FLEET_MODEL", None, "model name at the endpoint, or the path of a .gguf file")
    openai_base_url: str | None = _knob("OPENAI_BASE_URL", None, "OpenAI-compatible endpoint, ends in /v1")
    openai_api_key: str | None = _knob("OPENAI_API_KEY", None, "its key", secret=True)
    azure_endpoint: str | None = _knob("AZURE_OPENAI_ENDPOINT", None, "Azure OpenAI resource, https://...")
    azure_api_key: str | None = _knob("AZURE_OPENAI_API_KEY", None, "its key", secret=True)
    azure_deployment: str | None = _knob("AZURE_OPENAI_DEPLOYMENT", None, "its chat deployment")
    azure_api_version: str = _knob("AZURE_OPENAI_API_VERSION", "2024-10-21", "its API version")
    planner: str = _knob(
        "FLEET_PLANNER",
        "auto",
        "who plans: the model, the classifier trained on the packaged tasks, or auto: the classifier for a small model",
        choices=("auto", "model", "classifier"),
    )
    roster: Path | None = _knob("FLEET_ROSTER", None, "a fleet.toml to use instead of the packaged one")
    model_timeout: float = _knob(
        "FLEET_MODEL_TIMEOUT", 60.0, "seconds a model endpoint may stay silent", low=0.1, high=3600
    )
    model_threads: int = _knob("FLEET_MODEL_THREADS", 0, "embedded model: threads; 0 takes the cores", low=0, high=256)
    model_slots: int = _knob("FLEET_MODEL_SLOTS", 4, "embedded model: generations at once", low=1, high=32)
    model_context: int = _knob(
        "FLEET_MODEL_CONTEXT", 2048, "embedded model: tokens per generation, prompt and answer", low=512, high=131072
    )
    model_queue: int = _knob("FLEET_MODEL_QUEUE", 64, "embedded model: generations that may wait", low=0, high=10_000)

    max_runs: int = _knob("FLEET_MAX_RUNS", 64, "runs at once; one more is refused with 503", low=1, high=10_000)
    run_timeout: float = _knob("FLEET_RUN_TIMEOUT", 600.0, "seconds a run may take", low=0.1, high=86_400)
    input_timeout: float = _knob(
        "FLEET_INPUT_TIMEOUT",
        300.0,
        "seconds a human may take to answer; then the run is suspended",
        low=0.05,
        high=86_400,
    )
    drain_grace: float = _knob(
        "FLEET_DRAIN_GRACE", 20.0, "seconds live runs get to finish after SIGTERM", low=0, high=3600
    )
    disconnect_grace: float = _knob(
        "FLEET_DISCONNECT_GRACE", 10.0, "seconds without a watcher until on_disconnect=cancel cancels", low=0, high=3600
    )

    heartbeat: float = _knob("FLEET_HEARTBEAT", 15.0, "seconds of silence before a heartbeat event", low=0.05, high=600)
    send_timeout: float = _knob(
        "FLEET_SEND_TIMEOUT", 30.0, "seconds a reader may take no bytes before it is cut", low=0.1, high=600
    )
    first_frame: float = _knob(
        "FLEET_FIRST_FRAME", 15.0, "seconds a WebSocket may stay mute at first", low=0.1, high=600
    )
    max_streams: int = _knob("FLEET_MAX_STREAMS", 2000, "open streams and sockets in all", low=1, high=100_000)
    caller_streams: int = _knob(
        "FLEET_CALLER_STREAMS", 1000, "open streams and sockets of one caller", low=1, high=100_000
    )
    run_rate: int = _knob(
        "FLEET_RUN_RATE", 600, "runs a caller may start a minute; 0 is no limit", low=0, high=1_000_000
    )
    frame_rate: int = _knob(
        "FLEET_FRAME_RATE", 900, "WebSocket frames a caller may send a minute; 0 is no limit", low=0, high=1_000_000
    )
    max_body: int = _knob(
        "FLEET_MAX_BODY", 262_144, "bytes of a request body or WebSocket frame", low=1024, high=16_777_216
    )
    allowed_origins: tuple[str, ...] = _knob(
        "FLEET_ALLOWED_ORIGINS", (), "other origins whose pages may use the service, comma-separated"
    )

    root_path: str = _knob("FLEET_ROOT_PATH", "", "path that a proxy serves this under, such as /fleet")
    trusted_proxies: tuple[str, ...] = _knob(
        "FLEET_TRUSTED_PROXIES", (), "addresses and networks whose X-Forwarded headers count, comma-separated"
    )

    history: str = _knob(
        "FLEET_HISTORY",
        "on",
        "whether the history and the examples keep what runs did: questions, answers, decisions",
        choices=("on", "off"),
    )
    examples_bytes: int = _knob(
        "FLEET_EXAMPLES_BYTES",
        16_777_216,
        "bytes of logs/dspy_examples.jsonl before it is put aside as .1, in place of the last one; 0 keeps none",
        low=0,
        high=1_000_000_000,
    )
    optimize_timeout: float = _knob(
        "FLEET_OPTIMIZE_TIMEOUT", 3600.0, "seconds an optimisation may take", low=1, high=86_400
    )

    otlp_endpoint: str | None = _knob(
        "OTEL_EXPORTER_OTLP_ENDPOINT", None, "collector that traces go to, such as http://127.0.0.1:4318; extra: otel"
    )
    otlp_protocol: str = _knob("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "how; there is no other way")

    log: str = _knob("FLEET_LOG", "console", "form of the log", choices=("console", "json"))
    log_level: str = _knob(
        "FLEET_LOG_LEVEL", "INFO", "least level logged", choices=("DEBUG", "INFO", "WARNING", "ERROR")
    )

    def __post_init__(self) -> None:
        for knob in fields(self):
            _check(knob.metadata, getattr(self, knob.name))
        proxies.check_root_path(self.root_path)
        proxies.networks(self.trusted_proxies)
        if self.model and not self.gguf and not (self.openai_base_url or self.openai_api_key):
            raise BadSetting("FLEET_MODEL names a model at an endpoint: set OPENAI_API_KEY or OPENAI_BASE_URL too")
        for env, url in (
            ("OPENAI_BASE_URL", self.openai_base_url),
            ("AZURE_OPENAI_ENDPOINT", self.azure_endpoint),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.otlp_endpoint),
        ):
            if url and not url.lower().startswith(("http://", "https://")):
                raise BadSetting(f"{env} must begin with http:// or https://")
        if self.azure_endpoint and not self.azure_deployment:
            raise BadSetting("AZURE_OPENAI_ENDPOINT needs AZURE_OPENAI_DEPLOYMENT too")
        if self.otlp_endpoint and self.otlp_protocol != "http/protobuf":
            raise BadSetting("OTEL_EXPORTER_OTLP_PROTOCOL: traces are sent as http/protobuf only (port 4318)")
        self._check_callers()

    def _check_callers(self) -> None:
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise BadSetting(f"FLEET_ALLOWED_ORIGINS: {origin!r} is no origin, such as https://pages.example")
        keys = Keys(self.api_keys)
        if strangers := [name for name in self.operators if name not in keys.names]:
            raise BadSetting(f"FLEET_OPERATORS: FLEET_API_KEYS has no key of {strangers[0]!r}")
        if not keys and not self.insecure and not is_loopback(self.host):
            raise BadSetting(
                f"FLEET_HOST: without FLEET_API_KEYS anybody who reaches {self.host} could use the service: "
                "set keys, or FLEET_INSECURE=1 if that is meant"
            )

    @property
    def gguf(self) -> Path | None:
        """The weights that FLEET_MODEL names, when it names a file."""
        return Path(self.model).expanduser() if self.model and self.model.lower().endswith(".gguf") else None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Empty variables count as unset. Raises BadSetting."""
        given = {
            knob.name: _parse(knob.metadata["env"], knob.default, environ[knob.metadata["env"]].strip())
            for knob in fields(cls)
            if environ.get(knob.metadata["env"], "").strip()
        }
        return cls(**given)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches the address, or the name `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


_OF_THE_MODEL = frozenset({"home", "planner", "roster", "optimize_timeout"})


def model_environment(settings: Settings) -> dict[str, str]:
    """The variables that tell a process of ours which model, roster and folder are used; the model's key is among them,
    keys of clients are not."""
    found = {}
    for knob in fields(settings):
        named = knob.name in _OF_THE_MODEL or knob.name.startswith(("model", "openai_", "azure_"))
        if named and (value := getattr(settings, knob.name)) is not None:
            found[str(knob.metadata["env"])] = str(value)
    return found


def table() -> str:
    """The settings as a Markdown table, for the README."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for knob in fields(Settings):
        default = "" if knob.default in (None, (), "", False) else f"`{knob.default}`"
        rows.append(
            f"| `{knob.metadata['env']}` | {default} | {knob.metadata['help']}{_allowed_words(knob.metadata)} |"
        )
    return "\n".join(rows)


def _parse(env: str, default: Any, text: str) -> Any:
    match default:
        case bool():
            if (flag := _FLAGS.get(text.lower())) is None:
                raise BadSetting(f"{env} must be 0 or 1, not {text!r}")
            return flag
        case int() | float():
            try:
                return type(default)(text)
            except ValueError:
                kind = "a whole number" if isinstance(default, int) else "a number"
                raise BadSetting(f"{env} must be {kind}, not {text!r}") from None
        case tuple():
            return tuple(part.strip() for part in text.split(",") if part.strip())
        case Path():
            return Path(text).expanduser()
        case _:
            return Path(text).expanduser() if env == "FLEET_ROSTER" else text


def _check(knob: Mapping[str, Any], value: Any) -> None:
    if knob["choices"] and value not in knob["choices"]:
        raise BadSetting(f"{knob['env']} must be one of {', '.join(knob['choices'])}, not {value!r}")
    if knob["low"] is not None and not knob["low"] <= value <= knob["high"]:
        raise BadSetting(f"{knob['env']} must be between {knob['low']} and {knob['high']}, not {value}")


def _allowed_words(knob: Mapping[str, Any]) -> str:
    if knob["choices"]:
        return f" ({', '.join(knob['choices'])})"
    return f" ({knob['low']} to {knob['high']})" if knob["low"] is not None else ""
