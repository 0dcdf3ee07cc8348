"""A Hub on this machine: the few addresses that huggingface_hub asks for, served from folders."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


class FakeHub:
    """Repositories and their commits, what was asked for, and faults to play.

    Attributes:
        repos: `{"organisation/name": {"main": commit, commit: folder}}`; a name may point to a commit or a folder.
        asked: Every request as `(method, path, Range header)`.
        cut: None, or for each further answer with `model.pt` after how many bytes it breaks off, None being never;
            past the list's end all break off at once.
        locked: Repositories that answer as gated ones do.
    """

    def __init__(self):
        self.repos, self.asked, self.locked, self.cut = {}, [], set(), None

    def add(self, repo, folder, commit=None, names=("main",)):
        """Publish a folder as a commit; returns its hash."""
        commit = commit or hashlib.sha1(str(folder).encode()).hexdigest()
        commits = self.repos.setdefault(repo, {})
        commits[commit] = Path(folder)
        commits.update(dict.fromkeys(names, commit))
        return commit

    def files(self, repo):
        """Paths of the files whose content was sent, wholly or in part."""
        return [path.split("/", 5)[5] for method, path, _ in self.asked if method == "GET" and f"/{repo}/res" in path]

    def commit(self, repo, revision):
        commits = self.repos[repo]
        return revision if isinstance(commits.get(revision), Path) else commits.get(revision)


@contextmanager
def serving(hub):
    """Run the hub; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            path = self.path.partition("?")[0]
            hub.asked.append((self.command, path, self.headers.get("Range")))
            parts = [unquote(part) for part in path.strip("/").split("/")]
            if parts[:2] == ["api", "models"]:
                repo, kind, revision = "/".join(parts[2:4]), *(parts[4:6] or ["revision", "main"])
            else:
                repo, kind, revision = "/".join(parts[:2]), parts[2], parts[3]
            if repo not in hub.repos:
                return self.fail(401, "RepoNotFound")
            if repo in hub.locked:
                return self.fail(403, "GatedRepo")
            commit = hub.commit(repo, revision)
            if commit is None:
                return self.fail(404, "RevisionNotFound")
            folder = hub.repos[repo][commit]
            if kind == "resolve":
                return self.send_file(folder / "/".join(parts[4:]), commit)
            names = sorted(path for path in folder.rglob("*") if path.is_file())
            if kind == "tree":
                facts = [
                    {"type": "file", "path": str(p.relative_to(folder)), "size": p.stat().st_size, "oid": oid(p)}
                    for p in names
                ]
                return self.send_json(facts)
            siblings = [{"rfilename": str(path.relative_to(folder))} for path in names]
            facts = {"id": repo, "sha": commit, "siblings": siblings, "private": False, "tags": [], "downloads": 0}
            return self.send_json(facts)

        def fail(self, code, reason):
            self.send_response(code)
            self.send_header("X-Error-Code", reason)
            self.send_header("X-Error-Message", reason)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send_json(self, values):
            body = json.dumps(values).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_file(self, path, commit):
            if not path.is_file():
                return self.fail(404, "EntryNotFound")
            body, start = path.read_bytes(), 0
            if wanted := self.headers.get("Range"):
                start = int(wanted.removeprefix("bytes=").split("-")[0])
            self.send_response(206 if wanted else 200)
            self.send_header("ETag", f'"{oid(path)}"')
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Accept-Ranges", "bytes")
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if self.command == "GET":
                end = len(body)
                if hub.cut is not None and path.name == "model.pt":
                    most = hub.cut.pop(0) if hub.cut else 0
                    end = end if most is None else min(end, start + most)
                self.wfile.write(body[start:end])
                self.close_connection = self.close_connection or end < len(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def oid(path):
    """Name of a file's content, as git would give one."""
    return hashlib.sha1(path.read_bytes()).hexdigest()
