"""The site behind a real proxy: nginx or Caddy with the very configuration that is shipped, in the clear or over TLS.

The shipped files hold what a deployment needs: ports, folders, names, waiting times. A test changes these texts and no
others, and each must be found, so that a test cannot go on with a file that has changed under it. Clients of the ones
that speak TLS speak HTTP/2, as browsers do.
"""

import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import trustme

from tests.needed import needed
from tests.script import Act, echo
from tests.web.site import Site, site

EXAMPLES = Path(__file__).parent.parent.parent / "scripts"
UP = 10  # seconds for a proxy to start or to leave

PROXIES = ["nginx", "caddy"]
TLS = ["nginx-tls", "caddy-tls"]
FRONTS = [(kind, root) for kind in ("direct", *PROXIES) for root in ("", "/fleet")] + [(kind, "") for kind in TLS]


@asynccontextmanager
async def fronted(
    kind: str, root: str = "", act: Act = echo, changes: dict[str, str] | None = None, **more: Any
) -> AsyncIterator[Site]:
    """The site as clients of the proxy see it. `changes` are to the proxy's file, `more` is for `site`."""
    async with site(act, root_path=root, trusted_proxies=("127.0.0.1",), **more) as it:
        if kind == "direct":
            async with seen_at(it, it.url + root) as here:
                yield here
            return
        async with proxy(kind, it.url, root, changes) as url, seen_at(it, url + root) as here:
            yield here


@asynccontextmanager
async def seen_at(it: Site, url: str, **client: Any) -> AsyncIterator[Site]:
    if url.startswith("https:"):
        client |= {"verify": trusting(), "http2": True}
    async with httpx.AsyncClient(base_url=url, timeout=10, **client) as http:
        yield replace(it, url=url, http=http)


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def trusting() -> ssl.SSLContext:
    """What clients of the proxies that speak TLS believe."""
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context


@asynccontextmanager
async def proxy(kind: str, upstream: str, root: str = "", changes: dict[str, str] | None = None) -> AsyncIterator[str]:
    """A proxy in front of the server at `upstream`; yields its URL, without `root`."""
    kind, _, tls = kind.partition("-")
    program, port = needed(kind), _free_port()
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        folder = Path(name)
        changed = {"nginx": _nginx, "caddy": _caddy}[kind](port, urlsplit(upstream).netloc, root)
        if tls:
            _authority().issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
                folder / "pem"
            )
            changed |= {"nginx": _nginx_tls, "caddy": _caddy_tls}[kind](port)
        file = folder / "conf"
        file.write_text(_example(kind, changed | (changes or {})), encoding="utf-8")
        command = {
            "nginx": [program, "-p", name, "-e", "stderr", "-c", str(file), "-g", "daemon off;"],
            "caddy": [program, "run", "--adapter", "caddyfile", "--config", str(file)],
        }[kind]
        async with _running(command, folder, file, *([folder / "pem"] if tls else [])):
            await _listening(port)
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"


def _example(kind: str, changes: Mapping[str, str]) -> str:
    text = (EXAMPLES / {"nginx": "nginx.conf.example", "caddy": "Caddyfile.example"}[kind]).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the example any more"
        text = text.replace(old, new)
    return text


def _nginx(port: int, upstream: str, root: str) -> dict[str, str]:
    folders = "".join(f"{what}_temp_path {what};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    changes = {
        "user www-data;\n": "",
        "worker_processes auto;": "worker_processes 1;",
        "pid /run/nginx.pid;": "pid pid;",
        "error_log /var/log/nginx/error.log crit;": "error_log stderr crit;",
        "access_log /var/log/nginx/fleet.log fleet;": f"access_log requests fleet; {folders}",
        "listen 80": f"listen 127.0.0.1:{port}",
        "server_name fleet.example.com;": "server_name 127.0.0.1 localhost;",
        "server 127.0.0.1:8000;": f"server {upstream};",
    }
    return changes | ({"location / {": f"location {root}/ {{", "location = /": f"location = {root}/"} if root else {})


def _caddy(port: int, upstream: str, root: str) -> dict[str, str]:
    changes = {
        "admin localhost:2019": "admin off",
        "http://fleet.example.com {": f"http://127.0.0.1:{port}, http://localhost:{port} {{\nbind 127.0.0.1",
        "http:// {": f"http://:{port} {{\nbind 127.0.0.1",
        "reverse_proxy 127.0.0.1:8000 {": f"reverse_proxy {upstream} {{",
    }
    return changes | ({"path *": f"path {root} {root}/*"} if root else {})


def _nginx_tls(port: int) -> dict[str, str]:
    folder = "/etc/letsencrypt/live/fleet.example.com"
    pem = "ssl_certificate pem; ssl_certificate_key pem;"
    return {
        "listen 80": "listen 80",
        "listen 80 default_server;": f"listen 127.0.0.1:{port} ssl http2 default_server; {pem}",
        "listen 80;\n": "",
        "# listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        f"# ssl_certificate     {folder}/fullchain.pem;": "ssl_certificate pem;",
        f"# ssl_certificate_key {folder}/privkey.pem;": "ssl_certificate_key pem;",
    }


def _caddy_tls(port: int) -> dict[str, str]:
    return {
        "admin localhost:2019": "admin off\n\tauto_https disable_redirects",
        "http://fleet.example.com {": f"127.0.0.1:{port}, localhost:{port} {{\nbind 127.0.0.1\ntls pem pem",
        "http:// {": f"http://:{_free_port()} {{\nbind 127.0.0.1",
    }


@asynccontextmanager
async def _running(command: list[str], folder: Path, *files: Path) -> AsyncIterator[None]:
    """As nobody in particular, when the tests are root; ended by its id, gently at first."""
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for path in (folder, *files):
            shutil.chown(path, nobody.pw_uid, nobody.pw_gid)
    process = await anyio.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=None,
        stderr=None,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        **account,
    )
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.terminate()
            with anyio.move_on_after(UP):
                await process.wait()
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def _listening(port: int) -> None:
    with anyio.fail_after(UP):
        while True:
            try:
                async with await anyio.connect_tcp("127.0.0.1", port):
                    return
            except OSError:
                await anyio.sleep(0.01)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
