"""A network that fails in the middle of a download, from a package index and from a hub."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sft_tradeoff.assets.spec import HubAsset, WheelAsset
from tests.faults.laboratory import Broken, Laboratory, clear_error
from tests.faults.outcome import RECOVERED, REFUSED, Outcome, failed
from tests.faults.stages import ROOT, Done

COMMIT = "0123456789" * 4
CONTENT = random.Random(0).randbytes(300_000)
WHEEL = "carrier-1.0-py3-none-any.whl"


class Site(ThreadingHTTPServer):
    """A package index with one wheel and a hub with one file, which can break off.

    Args:
        wheel: Bytes of the wheel.
        break_at: Share of a body after which the connection closes; None: never.
    """

    def __init__(self, wheel: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wheel = wheel
        self.break_at: float | None = None
        self.n_broken = 0

    @property
    def address(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        if path == "/simple/carrier/":
            self._send(f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode(), "text/html", body)
        elif path == f"/files/{WHEEL}":
            self._send(self.server.wheel, "application/octet-stream", body, breaks=True)
        elif path.startswith("/api/models/owner/name/revision/"):
            facts = {"id": "owner/name", "sha": COMMIT, "siblings": [{"rfilename": "data.bin"}]}
            self._send(json.dumps(facts).encode(), "application/json", body)
        elif path.startswith("/api/models/owner/name/tree/"):
            file = {"type": "file", "path": "data.bin", "size": len(CONTENT), "oid": "0" * 40}
            self._send(json.dumps([file]).encode(), "application/json", body)
        elif path == f"/owner/name/resolve/{COMMIT}/data.bin":
            self._send(CONTENT, "application/octet-stream", body, breaks=True)
        else:
            self.send_error(404)

    def _send(self, data: bytes, kind: str, body: bool, breaks: bool = False) -> None:
        asked, start = self.headers.get("Range", ""), 0
        if asked.startswith("bytes="):
            start = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        data = data[start:]
        if body and breaks and self.server.break_at is not None:
            self.server.n_broken += 1
            data = data[: int(self.server.break_at * len(data))]
            self.close_connection = True
        if body:
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data)


def broken_downloads(lab: Laboratory, rng: random.Random, n: int) -> Iterator[Outcome]:
    """The connection closes within the body, while the command runs or for a short time."""
    wheel = _wheel(lab.new_folder())
    site = Site(wheel.read_bytes())
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    try:
        for i in range(n):
            spec = _hub() if i % 2 else _wheel_spec(wheel)
            try:
                yield _download(lab.new_folder(), site, spec, rng)
            except Broken as broken:
                yield failed(f"{spec.source}: {broken}")
    finally:
        site.shutdown()
        site.server_close()


def _download(folder: Path, site: Site, spec: WheelAsset | HubAsset, rng: random.Random) -> Outcome:
    site.break_at, site.n_broken = rng.random(), 0
    done = _fetch(folder, site, spec)
    if not site.n_broken:
        raise Broken(f"nothing was downloaded: {done.text[-1500:]}")
    if done.code:
        clear_error(done)
        if left := [path for path in folder.rglob("SOURCE.json") if path.is_file()]:
            raise Broken(f"a record without its files: {left}")
    site.break_at = None
    second = _fetch(folder, site, spec)
    if second.code:
        raise Broken(f"the next run failed: {second.text[-1500:]}")
    record = json.loads((folder / "thing/SOURCE.json").read_text())
    for name, facts in record["files"].items():
        below = folder / "thing" / (COMMIT if spec.source == "hub" else "")
        found = (below / name).read_bytes()
        if found != CONTENT or facts["sha256"] != hashlib.sha256(CONTENT).hexdigest():
            raise Broken(f"{name} is not what the server has")
    return REFUSED if done.code else RECOVERED


def _fetch(folder: Path, site: Site, spec: WheelAsset | HubAsset) -> Done:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "HF_")) and "proxy" not in name.lower()
    }
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_INDEX_URL": f"{site.address}/simple/",
        "PIP_RETRIES": "1",
        "HF_ENDPOINT": site.address,
        "HF_HOME": str(folder / "home"),
    }
    command = [
        "sft-tradeoff",
        "fetch",
        "--name",
        "thing",
        "--spec",
        spec.model_dump_json(),
        "--out",
        str(folder / "thing/SOURCE.json"),
    ]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    return Done(done.returncode, done.stderr)


def _wheel(folder: Path) -> Path:
    path = folder / WHEEL
    info = "carrier-1.0.dist-info"
    files = {
        "carrier/data.bin": CONTENT,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _wheel_spec(wheel: Path) -> WheelAsset:
    return WheelAsset(
        source="wheel",
        package="carrier==1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        members={"carrier/data.bin": hashlib.sha256(CONTENT).hexdigest()},
        license="MIT",
    )


def _hub() -> HubAsset:
    return HubAsset(source="hub", repo="owner/name", revision=COMMIT, license="MIT")
