"""The service as a process of its own, the way users run it, for the length of a block."""

import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from anyio import to_thread

import agentic_fleet
from agentic_fleet.settings import Settings
from agentic_fleet.testing.client import Client
from agentic_fleet.testing.errors import DidNotStart
from agentic_fleet.testing.model import ScriptedModel
from agentic_fleet.testing.process import Process
from agentic_fleet.workflows.weights import PACKAGE

APP = Path(agentic_fleet.__file__).parent.parent / "app.py"
START = 30.0
"""Seconds until the service listens; a loaded machine imports slowly."""
STOP = 40.0
"""Seconds until a service that was told to stop has ended: more than its default grace for live runs."""

_NAMES = {knob.name: str(knob.metadata["env"]) for knob in fields(Settings)}
OURS = ("FLEET_", "OPENAI_", "AZURE_", "TAVILY_", "OTEL_")


def running_fleet(
    model: ScriptedModel | str | None = None,
    *,
    home: Path | str | None = None,
    environ: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    **settings: Any,
) -> "Fleet":
    """The service on a free loopback port, listening when the block begins, killed when it is left.

    Use it as ``with`` (anywhere; the place for a fixture of any scope) or as ``async with`` (in a test that has an
    event loop; keeps connections).

    `model` answers: a running `ScriptedModel`, or a name or path as in `FLEET_MODEL`, or None for the embedded one.
    `settings` are those of `agentic_fleet.settings`, by their field's names: ``drain_grace=0``. What the environment
    says of the service's settings does not count; the rest of it is inherited, and `environ` added. `home` is its
    folder, kept afterwards; a temporary one by default. Python modules for its tools are found in the current folder
    and on PYTHONPATH. `command` are arguments for Python to use in place of ``app.py``; it must greet as that does.

    Raises DidNotStart, with what the service printed, when it does not listen within 30 s; TypeError for an unknown
    setting.
    """
    if unknown := sorted(settings.keys() - _NAMES.keys()):
        raise TypeError(f"There is no setting {unknown[0]!r}. There are: {', '.join(_NAMES)}.")
    if isinstance(model, ScriptedModel):
        if not model.url:
            raise ValueError("The scripted model does not run yet: enter its block first.")
        settings = {"model": "scripted", "openai_base_url": model.base_url, **settings}
    elif model is not None:
        settings["model"] = model
    elif not settings.keys() & {"model", "azure_endpoint"}:
        _check_embedded()
    return Fleet(home, settings, environ or {}, command or (str(APP),))


class Fleet(Client):
    """A running service, and a client of it with the first of its `api_keys`."""

    def __init__(
        self, home: Path | str | None, settings: dict[str, Any], environ: Mapping[str, str], command: Sequence[str]
    ) -> None:
        super().__init__("", _first_key(settings.get("api_keys", ())))
        self._given_home = home
        self._settings = settings
        self._environ = environ
        self._command = command
        self._process: Process
        self.home = Path()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """What the process has printed so far, its log included; the newest million characters."""
        return self._process.output

    def signal(self, number: signal.Signals) -> None:
        self._process.signal(number)

    async def gone(self) -> int:
        """Its exit code, once it has ended by itself or by a signal. Raises TimeoutError."""
        return await to_thread.run_sync(self._process.wait, STOP, abandon_on_cancel=True)

    async def stop(self) -> int:
        """SIGTERM, as a deployment does it: live runs get `drain_grace` seconds. Returns the exit code."""
        self.signal(signal.SIGTERM)
        return await self.gone()

    async def kill(self) -> None:
        """SIGKILL, as an accident does it."""
        self.signal(signal.SIGKILL)
        await self.gone()

    async def restart(self, **settings: Any) -> None:
        """Stop it if it runs, and start it again: the same folder and address, the same settings but for these."""
        if self._process.exit_code is None:
            await self.stop()
        self._process.end()
        self._settings = {**self._settings, "port": urlsplit(self.url).port, **settings}
        self._launch()
        await self._ready()

    def _launch(self) -> None:
        self._process = Process(self._command, environment(self.home, self._settings, self._environ))

    async def _ready(self) -> None:
        self.url = await to_thread.run_sync(self._process.ready, START, abandon_on_cancel=True)

    def _open(self) -> None:
        self.home = Path(self._given_home or tempfile.mkdtemp(prefix="fleet-"))
        self._launch()

    def _close(self) -> None:
        try:
            self._process.end()
        finally:
            if self._given_home is None:
                shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        self._open()
        try:
            self.url = self._process.ready(START)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    async def __aenter__(self) -> Self:
        self._open()
        try:
            await self._ready()
            return await super().__aenter__()
        except BaseException:
            self._close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            self._close()


def environment(
    home: Path, settings: Mapping[str, Any] | None = None, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Of this process, without its settings, and with those of a service on a free port."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    path = os.pathsep.join(filter(None, (str(Path.cwd()), inherited.get("PYTHONPATH"))))
    given = {"home": home.absolute(), "host": "127.0.0.1", "port": 0, **(settings or {})}
    knobs = {_NAMES[name]: _text(value) for name, value in given.items() if value is not None}
    return {**inherited, "PYTHONPATH": path, **knobs, **(more or {})}


def _text(value: Any) -> str:
    match value:
        case bool():
            return str(int(value))
        case tuple() | list():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _first_key(api_keys: Any) -> str | None:
    """Of `name:key` pairs."""
    pairs = api_keys.split(",") if isinstance(api_keys, str) else list(api_keys)
    return pairs[0].partition(":")[2].strip() or None if pairs else None


def _check_embedded() -> None:
    missing = [name for name in ("xllamacpp", PACKAGE) if importlib.util.find_spec(name) is None]
    if missing:
        raise DidNotStart(
            f"There is no embedded model, for {' and '.join(missing)} cannot be imported: see scripts/setup, or give "
            "running_fleet a ScriptedModel."
        )
