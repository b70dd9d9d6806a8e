"""A local server that speaks as much of the Hugging Face Hub's HTTP as an upload uses."""

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    writers: set[str] = field(default_factory=set)


class Hub:
    """`users`: {token: answer of whoami}. `repositories`: {owner/name: Repository}. `refused`: ends
    of paths that are answered with 403."""

    def __init__(self, users):
        self.users, self.repositories, self.refused = users, {}, ()
        self.calls, self.tokens = [], set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(None)

            def do_POST(self):
                self.answer(self.rfile.read(int(self.headers["Content-Length"])))

            def answer(self, body):
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                path = self.path.partition("?")[0]
                outer.tokens.add(token)
                outer.calls.append(f"{self.command} {path}")
                status, content = outer.respond(path, body, token)
                data = json.dumps(content).encode()
                self.send_response(status)
                if status == 404:
                    self.send_header("X-Error-Code", "RepoNotFound")
                if status >= 400:
                    self.send_header("X-Error-Message", content["error"])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def respond(self, path, body, token):
        """Status and content."""
        if token not in self.users:
            return 401, {"error": "Invalid credentials"}
        if path.endswith(self.refused or ("\0",)):
            return 403, {"error": "You may not do this"}
        if path == "/api/repos/create":
            return self.create(json.loads(body), token)
        if path.startswith("/api/models/"):
            return self.of_model(path.removeprefix("/api/models/").split("/"), body, token)
        front_matter = {"errors": [], "warnings": []}  # of a card: it is found to be good
        return 200, self.users[token] if path == "/api/whoami-v2" else front_matter

    def of_model(self, parts, body, token):
        name, what = "/".join(parts[:2]), parts[2:3]
        found = self.repositories.get(name)
        if found is None:
            return 404, {"error": "Repository not found"}
        if what not in ([], ["tree"]) and token not in found.writers:
            return 403, {"error": "You may not write here"}
        answers = {
            "": lambda: {"id": name, "private": found.private, "sha": "0" * 40},
            "tree": lambda: [
                {"type": "file", "path": path, "size": len(content), "oid": "0"}
                for path, content in found.files.items()
            ],
            "auth-check": dict,
            "preupload": lambda: {
                "files": [
                    {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for each in json.loads(body)["files"]
                ]
            },
            "commit": lambda: self.commit(name, map(json.loads, body.splitlines())),
        }
        return 200, answers["".join(what)]()

    def commit(self, name, lines):
        files = self.repositories[name].files
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        return {"commitUrl": f"{self.url}/{name}/commit/1", "commitOid": "1" * 40}

    def create(self, asked, token):
        name = f"{asked['organization']}/{asked['name']}"
        user = self.users[token]
        if asked["organization"] not in {user["name"], *(org["name"] for org in user["orgs"])}:
            return 403, {"error": "You may not create this"}
        made = Repository(asked["visibility"] == "private", writers={token})
        self.repositories.setdefault(name, made)
        return 200, {"url": f"{self.url}/{name}"}
