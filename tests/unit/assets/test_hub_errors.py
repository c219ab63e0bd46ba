"""The hub's own client with a local server: what arrives, and advice for failures."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "0123456789" * 4
TOKEN = "hf_secret"
FILES = {"config.json": b"{}\n", "model.safetensors": bytes(range(256)) * 40, "README.md": b"hi"}
REFUSALS = {  # what the hub answers: status, X-Error-Code, X-Error-Message
    "owner/gated": (401, "GatedRepo", "Access to model owner/gated is restricted."),
    "owner/waiting": (403, "GatedRepo", "Your request is awaiting a review."),
    "owner/absent": (404, "RepoNotFound", "Repository not found"),
    "owner/moved": (404, "RevisionNotFound", "Invalid rev id"),
    "owner/token": (401, "", "Invalid credentials in Authorization header"),
    "owner/forbidden": (403, "", "Forbidden"),
    "owner/busy": (429, "", "Too many requests"),
    "owner/broken": (503, "", "Service unavailable"),
}
# The client sleeps between attempts: 23 s if a server keeps failing.
CHILD = """
import json, os, sys, time
from pathlib import Path
from sft_tradeoff.assets.fetch import SourceError, fetch_asset, parse_asset
time.sleep = lambda seconds: None
for case in json.load(sys.stdin):
    os.environ.pop("HF_TOKEN", None)
    os.environ.update(case["environment"])
    try:
        fetch_asset("thing", parse_asset("thing", json.dumps(case["spec"])), Path(case["record"]))
        print(json.dumps(None))
    except SourceError as error:
        print(json.dumps(str(error)))
"""


class Hub(BaseHTTPRequestHandler):
    """The part of the hub that its client uses: a tree, and files with size and hash."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization")))
        path = self.path.partition("?")[0]
        found = re.match(r"/(?:api/)?(?:(?:models|datasets)/)?(\w+/\w+)/(.*)", path)
        if not found:  # the client asks for more than files
            self.answer(404, b"", {})
            return
        repo, rest = found.groups()
        in_tree = rest.startswith("tree/")
        if repo in REFUSALS:
            status, code, message = REFUSALS[repo]
            self.answer(status, b"", {"X-Error-Code": code, "X-Error-Message": message})
        elif repo == "owner/late" and not in_tree:  # the terms guard the files, not their names
            self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        elif in_tree:
            tree = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in FILES.items()
            ]
            self.answer(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
        else:
            self.send_file(repo, rest.removeprefix(f"resolve/{COMMIT}/"))

    def send_file(self, repo: str, name: str) -> None:
        content = FILES[name]
        first = self.server.asked.setdefault((repo, name, self.command), 0) == 0
        self.server.asked[repo, name, self.command] += 1
        start = int(re.findall(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[0])
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        body = content[start:]
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET" and name == "model.safetensors":
            if repo == "owner/cut" and first:  # the connection breaks off once
                self.answer(200, body, headers, sent=1000)
                return
            if repo == "owner/short":  # whole, but not as long as the hub said
                body = body[:1000]
        self.answer(206 if start else 200, body, headers)

    def answer(self, status: int, body: bytes, headers: dict, sent: int | None = None) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])
        if sent is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def fetch(tmp_path, endpoint, *cases):
    """Fetch each case in one fresh process; return its error or None, and the folder of its files.

    A case is a repository, with further keys of the asset and variables of the environment.
    """
    plan = []
    for number, (repo, spec, environment) in enumerate(cases):
        record = tmp_path / f"{number}" / "thing" / "SOURCE.json"
        spec = {"source": "hub", "repo": repo, "revision": COMMIT, "license": "MIT", **spec}
        plan.append({"spec": spec, "environment": environment, "record": str(record)})
    hidden = ("HF_", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    clean = {k: v for k, v in os.environ.items() if not k.upper().startswith(hidden)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(plan),
        env={**clean, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        (json.loads(line), tmp_path / f"{number}" / "thing")
        for number, line in enumerate(done.stdout.splitlines())
    ]


@pytest.fixture(scope="module")
def hub():
    """The server; ``seen`` lists the requests."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.seen, server.asked = [], {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    server.shutdown()


def test_what_the_hub_answers(hub, tmp_path):
    """Every refusal ends in one line with the fix, no record, and never the token."""
    with_token = {"HF_TOKEN": TOKEN}
    page, settings = re.escape(hub.url), re.escape(f"{hub.url}/settings/tokens")
    expected = [
        (
            ("owner/gated", {}, {}),
            rf"model owner/gated is gated: accept its terms at {page}/owner/gated, create a token "
            rf"with read access at {settings}, set HF_TOKEN",
        ),
        (
            ("owner/gated", {"repo_type": "dataset"}, {}),
            rf"dataset owner/gated is gated: accept its terms at {page}/datasets/owner/gated,",
        ),
        (
            ("owner/waiting", {}, with_token),
            rf"gated, and the token's account has no access: accept the terms at "
            rf"{page}/owner/waiting with that account.*fine-grained token access to gated "
            rf"repositories at {settings}",
        ),
        (("owner/late", {}, with_token), "owner/late is gated, and the token's account"),
        (
            ("owner/absent", {}, {}),
            r"the hub has no model 'owner/absent' .*\(HTTP 404\); check the spelling",
        ),
        (
            ("owner/forbidden", {}, with_token),
            r"no model 'owner/forbidden' .*\(HTTP 403\);.*HF_TOK",
        ),
        (
            ("owner/token", {}, with_token),
            rf"the hub refuses the token \(HF_TOKEN\): mistyped or expired; create one "
            rf"at {settings}",
        ),
        (
            ("owner/moved", {}, {}),
            rf"no commit {COMMIT}; choose one from {page}/owner/moved/commits/main",
        ),
        (("owner/busy", {}, {}), r"too many requests to the hub \(HTTP 429\); set HF_TOKEN"),
        (
            ("owner/broken", {}, {}),
            r"the hub returned an error for owner/broken \(HTTP 503\); run the same",
        ),
        (("a/b/c", {}, {}), "'a/b/c' is not a hub repository name; write it as 'owner/name'"),
        (
            ("owner/whole", {"allow_patterns": ["*.bin"]}, {}),
            r"no file of owner/whole matches allow_patterns \['\*.bin'\]; correct it",
        ),
        (
            ("owner/short", {}, {}),
            "the download of owner/short was interrupted .*size 10240 but has size 1000"
            ".*run the same",
        ),
    ]
    got = fetch(tmp_path, hub.url, *(case for case, _ in expected))
    for (case, pattern), (message, folder) in zip(expected, got, strict=True):
        assert message is not None, case
        assert re.search(f"^asset 'thing': .*{pattern}", message), (case, message)
        assert "\n" not in message and TOKEN not in message
        assert not (folder / "SOURCE.json").exists()


def test_what_arrives(hub, tmp_path):
    """Files and their record; the token is in every request if it is set, else in none.

    The second download breaks off after 1000 bytes once and is continued from there.
    """
    hub.seen.clear()
    patterns = {"allow_patterns": ["*.json", "*.safetensors"]}
    cases = ("owner/whole", patterns, {"HF_TOKEN": f"{TOKEN}\n"}), ("owner/cut", patterns, {})
    for error, folder in fetch(tmp_path, hub.url, *cases):
        assert error is None
        record = json.loads((folder / "SOURCE.json").read_text())
        assert sorted(record["files"]) == ["config.json", "model.safetensors"]
        for name, facts in record["files"].items():
            assert (folder / COMMIT / name).read_bytes() == FILES[name]
            assert facts["sha256"] == hashlib.sha256(FILES[name]).hexdigest()
        assert record["revision"] == COMMIT
        assert TOKEN not in (folder / "SOURCE.json").read_text()
    sent = {
        repo: {token for _, path, token in hub.seen if f"owner/{repo}/" in path}
        for repo in ("whole", "cut")
    }
    assert sent == {"whole": {f"Bearer {TOKEN}"}, "cut": {None}}
    assert hub.asked["owner/cut", "model.safetensors", "GET"] == 2


def test_no_connection(tmp_path):
    """Nobody listens on the port; it stays bound, so that no other process can listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{bound.getsockname()[1]}"
        [(message, folder)] = fetch(tmp_path, endpoint, ("owner/whole", {}, {}))
    assert re.search(
        r"the hub cannot be reached for owner/whole \(ConnectError: .*refused\); check the network,"
        rf" HTTPS_PROXY and HF_ENDPOINT \({endpoint}\), or fetch it on a machine with network",
        message,
    )
    assert not (folder / "SOURCE.json").exists()
