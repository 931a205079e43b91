"""A Hugging Face hub in a thread: as much of its API as `HfApi` needs to look at a repository and to commit to it.

Commits and pull requests are kept, so that a test can say what arrived. Paths and answers are those that
huggingface_hub 2.4 asks for and reads: repository, discussions, preupload, commit, resolve, validate-yaml.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

WRITER = "hf_writer0123456789secret"
READER = "hf_reader0123456789secret"


@dataclass
class Repository:
    """files: revision -> path -> content. requests: titles of pull requests, by number less one."""

    files: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    requests: list[dict] = field(default_factory=list)
    commits: list[dict] = field(default_factory=list)  # title, description, parent, revision, files

    def sha(self, revision="main"):
        parts = [path.encode() + content for path, content in sorted(self.files[revision].items())]
        return hashlib.sha1(b"".join(parts) + str(len(self.commits)).encode()).hexdigest()

    def merge(self, number):
        """What the owner does with a pull request."""
        self.files["main"] |= self.files[f"refs/pr/{number}"]
        self.requests[number - 1]["status"] = "merged"


class Hub:
    """Use as a context. broken: step -> status, or None for no answer while the hub lives; asked: (method, path)."""

    def __init__(self, *names, kind="models"):
        self.repositories = {f"{kind}/{name}": Repository() for name in names}
        self.broken: dict[str, int | None] = {}
        self.asked: list[tuple[str, str]] = []
        self.before_commit = lambda: None  # what another person does meanwhile
        self.released = threading.Event()

    def __enter__(self):
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def __getitem__(self, name):
        return self.repositories[f"models/{name}"]

    @property
    def writes(self):
        return [path for method, path in self.asked if method == "POST" and "/commit/" in path]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Nothing is printed."""

    def do_GET(self):
        self._answer("GET", b"")

    def do_POST(self):
        self._answer("POST", self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, method, body):
        url = urlsplit(self.path)
        self.hub.asked.append((method, self.path))
        routes = {
            "repository": r"GET /api/(models|datasets)/([^/]+/[^/]+)",
            "discussions": r"GET /api/(models|datasets)/([^/]+/[^/]+)/discussions",
            "preupload": r"POST /api/(models|datasets)/([^/]+/[^/]+)/preupload/(.+)",
            "commit": r"POST /api/(models|datasets)/([^/]+/[^/]+)/commit/(.+)",
            "validate": r"POST /api/validate-yaml()()",
            "resolve": r"GET /(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)",
        }
        matches = {step: re.fullmatch(route, f"{method} {url.path}") for step, route in routes.items()}
        step, found = next(((step, match) for step, match in matches.items() if match), ("", None))
        if found is None:
            return self._send(404, {"error": f"the stub has no {method} {url.path}"})
        if step in self.hub.broken:
            return self._break(self.hub.broken[step])
        if step == "validate":
            return self._send(200, {"errors": [], "warnings": []})
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in (WRITER, READER):
            return self._send(401, {"error": f"bad token {token}"}, "Invalid credentials in Authorization header")
        kind = "datasets" if (found[1] or "").startswith("datasets") else "models"
        repository = self.hub.repositories.get(f"{kind}/{found[2]}")
        if repository is None:
            return self._send(404, {"error": "Repository not found"}, code="RepoNotFound")
        if step in ("preupload", "commit") and token != WRITER:
            return self._send(403, {"error": f"token {token} has no write access"}, "Forbidden")
        rest = [unquote(part) for part in found.groups()[2:]]
        return getattr(self, f"_{step}")(repository, found[2], kind, rest, parse_qs(url.query), body)

    def _break(self, status):
        if status is None:
            self.hub.released.wait(20)
            self.close_connection = True
            return
        self._send(status, {"error": f"made to fail, with {self.headers.get('Authorization')}"})

    def _repository(self, repository, name, _kind, _rest, _query, _body):
        self._send(200, {"id": name, "_id": "1", "sha": repository.sha(), "private": False, "tags": [], "siblings": []})

    def _discussions(self, repository, name, kind, _rest, query, _body):
        wanted = query.get("status", ["open"])[0]
        found = [
            {
                **request,
                "num": number,
                "author": {"name": "someone"},
                "createdAt": "2026-01-02T03:04:05.000Z",
                "isPullRequest": True,
                "repo": {"name": name, "type": kind[:-1]},
            }
            for number, request in enumerate(repository.requests, 1)
            if request["status"] == wanted
        ]
        self._send(200, {"discussions": found, "count": len(found), "start": 0})

    def _resolve(self, repository, _name, _kind, rest, _query, _body):
        content = repository.files.get(rest[0], {}).get(rest[1])
        if content is None:
            self._send(404, {"error": "Entry not found"}, code="EntryNotFound")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _preupload(self, _repository, _name, _kind, _rest, _query, body):
        files = [
            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]
        ]
        self._send(200, {"files": files})

    def _commit(self, repository, name, _kind, rest, query, body):
        self.hub.before_commit()
        lines = [json.loads(line) for line in body.splitlines()]
        (head,) = (line["value"] for line in lines if line["key"] == "header")
        added = {}
        for line in lines:
            if line["key"] == "file":
                assert line["value"]["encoding"] == "base64"
                added[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        proposed = query.get("create_pr") == ["1"]
        if not proposed and head.get("parentCommit") not in (None, repository.sha()):
            self._send(412, {"error": "A commit has happened since. Please refresh and try again."})
            return
        request = None
        revision = rest[0]
        if proposed:
            repository.requests.append({"title": head["summary"], "status": "open"})
            number = len(repository.requests)
            revision, request = f"refs/pr/{number}", f"{self.hub.url}/{name}/discussions/{number}"
            repository.files[revision] = dict(repository.files["main"])
        repository.files[revision] |= added
        repository.commits.append({**head, "revision": revision, "files": added})
        sha = repository.sha(revision)
        url = f"{self.hub.url}/{name}/commit/{sha}"
        self._send(200, {"success": True, "commitOid": sha, "commitUrl": url, "pullRequestUrl": request})

    def _send(self, status, value, message="", code=""):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (("X-Error-Message", message), ("X-Error-Code", code)):
            if text:
                self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)
