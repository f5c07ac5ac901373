"""A small Hugging Face hub on loopback: what huggingface_hub's client asks of the real one, kept in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

import yaml

TOKEN = "hf_" + "LoopbackSecretOfTheTests" + "0123456789"
USER = "somebody"
LFS = (".safetensors", ".bin", ".pt", ".pth")
PATIENCE = 60  # seconds that a request is held for at most
CUT = -1  # in place of a status: the connection ends in the middle of the request


@dataclass(frozen=True)
class File:
    content: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        """As git and LFS name it."""
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass(frozen=True)
class Commit:
    oid: str
    message: str
    changed: tuple[str, ...]
    files: dict[str, File]


@dataclass
class Repository:
    private: bool
    branches: dict[str, list[Commit]]

    def find(self, revision: str) -> Commit | None:
        if revision in self.branches:
            return self.branches[revision][-1]
        return next((c for branch in self.branches.values() for c in branch if c.oid == revision), None)


@dataclass
class Fault:
    """Answers requests whose `METHOD path` matches with a status, or cuts them, so many times."""

    pattern: str
    status: int
    times: int


@dataclass
class Hold:
    """Keeps the first request whose `METHOD path` matches until it is released."""

    pattern: str
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def meet(self, request: str) -> None:
        if not self.reached.is_set() and re.search(self.pattern, request):
            self.reached.set()
            self.released.wait(PATIENCE)


@dataclass
class Hub:
    address: str = ""
    part_size: int | None = None  # upload LFS files in parts of so many bytes
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)

    def break_down(self, pattern: str, status: int, times: int = 10**6) -> None:
        self.faults.append(Fault(pattern, status, times))

    def hold(self, pattern: str) -> Hold:
        self.holds.append(Hold(pattern))
        return self.holds[-1]

    def fault(self, request: str) -> int | None:
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, request):
                fault.times -= 1
                return fault.status
        return None

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        commit = self.repositories[repo].find(revision)
        return {name: file.content for name, file in commit.files.items()}

    def commits(self, repo: str, revision: str = "main") -> list[Commit]:
        return self.repositories[repo].branches[revision][1:]


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Yield a running hub, and stop it afterwards."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub, "lock": threading.Lock()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def metadata_errors(content: str) -> list[str]:
    """What the hub's validation says of a card's metadata: https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    match = re.match(r"\s*---\r?\n(.*?)\r?\n---\s*(\n|$)", content, re.DOTALL)
    try:
        data = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        return [f"invalid YAML: {error}"]
    if not isinstance(data, dict):
        return ["the metadata is no object"]
    repo = re.compile(r"[\w.-]+(/[\w.-]+)?")
    texts = ("license", "library_name", "pipeline_tag")
    errors = [f'"{key}" must be a string' for key in texts if not isinstance(data.get(key, ""), str)]
    for key in ("datasets", "base_model"):
        values = [data[key]] if isinstance(data.get(key), str) else data.get(key, [])
        errors += [f'"{key}" {value!r} is no id' for value in values if not repo.fullmatch(value)]
    for index, model in enumerate(data.get("model-index", [])):
        where = f"model-index[{index}]"
        errors += [] if isinstance(model.get("name"), str) else [f"{where}.name must be a string"]
        for result in model.get("results", []):
            named = {"task.type": result.get("task", {}).get("type")}
            named |= {f"dataset.{key}": result.get("dataset", {}).get(key) for key in ("type", "name")}
            for metric in result.get("metrics", []):
                named["metrics.type"] = metric.get("type")
                errors += [] if "value" in metric else [f"{where}.results.metrics.value is required"]
            errors += [f"{where}.results.{key} must be a string" for key, v in named.items() if not isinstance(v, str)]
    return errors


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    lock: threading.Lock
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.path, _, query = self.path.partition("?")
        self.path = unquote(self.path)
        self.query = parse_qs(query)
        self.hub.requests.append(f"{self.command} {self.path}")
        status = self.hub.fault(f"{self.command} {self.path}")
        if status == CUT:
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            self.close_connection = True
            self.connection.close()
            return
        self.body = self.read_body()
        for hold in self.hub.holds:
            hold.meet(f"{self.command} {self.path}")
        with self.lock:
            if status is not None:
                self.answer(status, {"error": "the tests broke this"})
            else:
                self.route()

    do_HEAD = do_POST = do_PUT = do_GET

    def route(self) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token != TOKEN:
            self.answer(401, {"error": "Invalid username or password."})
            return
        for methods, pattern, action in _ROUTES:
            if self.command in methods.split() and (match := re.fullmatch(pattern, self.path)):
                if methods in _WRITES and not token and not pattern.startswith("/objects"):
                    self.answer(401, {"error": "Log in to do this."})
                    return
                action(self, *match.groups())
                return
        self.answer(404, {"error": f"no such page: {self.path}"})

    def read_body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status: int, content: object = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        if status >= 400 and isinstance(content, dict) and "error" in content:
            headers["X-Error-Message"] = content["error"]
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def repository(self, repo: str) -> Repository | None:
        found = self.hub.repositories.get(repo)
        if found is None or (found.private and not self.headers.get("Authorization")):
            self.answer(401 if found is None else 404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        return found

    def whoami(self) -> None:
        if self.headers.get("Authorization"):
            self.answer(200, {"type": "user", "name": USER, "orgs": []})
        else:
            self.answer(401, {"error": "Log in to do this."})

    def create(self) -> None:
        asked = json.loads(self.body)
        owner = asked.get("organization") or USER
        repo = f"{owner}/{asked['name']}"
        if owner != USER:
            self.answer(403, {"error": f"You have no rights on {owner}."})
            return
        known = repo in self.hub.repositories
        private = asked.get("visibility") == "private" or bool(asked.get("private"))  # newer clients, and older ones
        if not known:
            first = Commit(hashlib.sha1(repo.encode()).hexdigest(), "initial commit", (), {})
            self.hub.repositories[repo] = Repository(private, {"main": [first]})
        self.answer(409 if known else 200, {"url": f"{self.hub.address}/{repo}", "name": repo})

    def validate(self) -> None:
        errors = metadata_errors(json.loads(self.body)["content"])
        self.answer(400 if errors else 200, {"errors": [{"message": e} for e in errors], "warnings": []})

    def preupload(self, repo: str, revision: str) -> None:
        if (found := self.repository(repo)) is None:
            return
        here = found.find(revision)
        answers = []
        for asked in json.loads(self.body)["files"]:
            old = here.files.get(asked["path"]) if here else None
            mode = "lfs" if asked["path"].endswith(LFS) else "regular"
            answers.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": old and old.oid})
        self.answer(200, {"files": answers})

    def batch(self, repo: str) -> None:
        objects = []
        for asked in json.loads(self.body)["objects"]:
            oid, size, known = asked["oid"], asked["size"], asked["oid"] in self.hub.objects
            upload: dict[str, object] = {"href": f"{self.hub.address}/objects/{oid}"}
            if self.hub.part_size:
                count = -(-size // self.hub.part_size)
                links = {str(n): f"{self.hub.address}/objects/{oid}/{n}" for n in range(1, count + 1)}
                upload["header"] = {"chunk_size": str(self.hub.part_size), **links}
            objects.append({"oid": oid, "size": size, **({} if known else {"actions": {"upload": upload}})})
        self.answer(200, {"transfer": "multipart" if self.hub.part_size else "basic", "objects": objects})

    def put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            self.answer(400, {"error": "the content does not match its name"})
            return
        self.hub.objects[oid] = self.body
        self.answer(200)

    def put_part(self, oid: str, number: str) -> None:
        self.hub.parts.setdefault(oid, {})[int(number)] = self.body
        self.answer(200, ETag=f'"{hashlib.md5(self.body).hexdigest()}"')

    def complete(self, oid: str) -> None:
        parts = self.hub.parts.pop(oid)
        self.body = b"".join(parts[part["partNumber"]] for part in json.loads(self.body)["parts"])
        self.put(oid)

    def commit(self, repo: str, revision: str) -> None:
        if (found := self.repository(repo)) is None:
            return
        header, *lines = [json.loads(line) for line in self.body.splitlines()]
        branch = found.branches.setdefault(revision, list(found.branches["main"]))
        files = dict(branch[-1].files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = File(base64.b64decode(value["content"]), lfs=False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    self.answer(400, {"error": f"{value['path']} was not uploaded"})
                    return
                files[value["path"]] = File(self.hub.objects[value["oid"]], lfs=True)
            else:
                files.pop(value["path"], None)
        oid = hashlib.sha1(branch[-1].oid.encode() + self.body).hexdigest()
        changed = tuple(sorted(line["value"]["path"] for line in lines))
        branch.append(Commit(oid, header["value"]["summary"], changed, files))
        self.answer(200, {"commitUrl": f"{self.hub.address}/{repo}/commit/{oid}", "commitOid": oid})

    def new_branch(self, repo: str, branch: str) -> None:
        if (found := self.repository(repo)) is not None:
            known = branch in found.branches
            found.branches.setdefault(branch, list(found.branches["main"]))
            self.answer(409 if known else 200, {})

    def info(self, repo: str, _: str | None, revision: str | None) -> None:
        if (found := self.repository(repo)) is None:
            return
        if (commit := found.find(revision or "main")) is None:
            self.answer(404, {"error": "Revision not found"}, X_Error_Code="RevisionNotFound")
            return
        siblings = [{"rfilename": name} for name in commit.files]
        self.answer(200, {"id": repo, "sha": commit.oid, "private": found.private, "siblings": siblings, "tags": []})

    def tree(self, repo: str, revision: str, below: str | None) -> None:
        if (found := self.repository(repo)) is None:
            return
        commit = found.find(revision)
        under = f"{below.strip('/')}/" if below else ""
        listed = [
            {"type": "file", "path": name, "size": len(file.content), "oid": file.oid}
            for name, file in commit.files.items()
            if name.startswith(under)
        ]
        if under and not listed:
            self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
            return
        self.answer(200, listed)

    def resolve(self, repo: str, revision: str, path: str) -> None:
        if (found := self.repository(repo)) is None:
            return
        commit = found.find(revision)
        file = commit.files.get(path) if commit else None
        if file is None:
            code = "RevisionNotFound" if commit is None else "EntryNotFound"
            extra = {} if commit is None else {"X_Repo_Commit": commit.oid}
            self.answer(404, {"error": code}, X_Error_Code=code, **extra)
            return
        linked = {"X_Linked_Etag": f'"{file.oid}"', "X_Linked_Size": str(len(file.content))} if file.lfs else {}
        self.answer(200, file.content, ETag=f'"{file.oid}"', X_Repo_Commit=commit.oid, **linked)

    def log_message(self, format: str, *args: object) -> None:
        pass


_WRITES = ("POST", "PUT")
_REPO = r"([\w.-]+/[\w.-]+)"
_ROUTES = (
    ("GET", r"/api/whoami-v2", _Handler.whoami),
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST ", r"/api/validate-yaml", _Handler.validate),  # open to all
    ("POST", rf"/api/models/{_REPO}/preupload/(.+)", _Handler.preupload),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/objects/(\w+)", _Handler.put),
    ("PUT", r"/objects/(\w+)/(\d+)", _Handler.put_part),
    ("POST", r"/objects/(\w+)", _Handler.complete),
    ("POST", rf"/api/models/{_REPO}/commit/(.+)", _Handler.commit),
    ("POST", rf"/api/models/{_REPO}/branch/(.+)", _Handler.new_branch),
    ("GET", rf"/api/models/{_REPO}(/revision/(.+))?", _Handler.info),
    ("GET", rf"/api/models/{_REPO}/tree/([^/]+)(/.+)?", _Handler.tree),
    ("GET HEAD", rf"/{_REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
)
