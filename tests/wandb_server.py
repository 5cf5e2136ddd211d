"""A stand-in for the W&B server, as far as the W&B client needs one: `python tests/wandb_server.py` prints its address.

The run folders' mirror is tested against it, with the real client. GET /state tells what has arrived, GET /fail makes
it answer 503 to everything the client sends from then on, GET /forget removes the views, GET /restart starts it again.
"""

import gzip
import json
import os
import sys
import time
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AWAY_SECONDS = 3.0
"""How long a server that is started again refuses whoever comes."""
ENTITY = {"id": "entity", "name": "somebody"}
STATE: dict = {
    "failing": False, "restarts": 0, "runs": {}, "points": {}, "summaries": {}, "views": [], "files": [],
    "artifacts": {},
}  # fmt: skip
"""runs: what UpsertBucket said of each; points: lines of its history; summaries: its last summary; views: the variables
of each UpsertView, workspaces or reports, the last in its place where it names one; files: the names of those sent;
artifacts: of each that is complete the MD5 of each of its files; restarts: how often it was started again."""
MD5: dict = {}
"""Of each file that was sent."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/fail":
            STATE["failing"] = True
        if self.path == "/forget":
            STATE["views"].clear()
        if self.path == "/restart":  # every connection is cut; what had arrived is kept
            STATE["restarts"] += 1
            again = [sys.executable, __file__, str(self.server.server_port), json.dumps(STATE)]
            os.execv(sys.executable, again)
        self.answer(STATE if self.path == "/state" else {})

    def do_PUT(self):
        body, name = self.body(), self.path.removeprefix("/upload/")
        STATE["files"].append(name)
        MD5[name] = md5(body).hexdigest()
        self.answer({})

    def do_POST(self):
        body = self.body()
        if STATE["failing"]:
            self.answer({"error": "failing"}, 503)
        elif self.path == "/graphql":
            request = json.loads(body)
            self.answer({"data": self.graphql(request["query"], request.get("variables") or {})})
        else:
            if self.path.endswith("/file_stream"):
                self.file_stream(self.path.split("/")[-2], json.loads(body).get("files", {}))
            self.answer({})

    def body(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def answer(self, content, code=200):
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def file_stream(self, run, files):
        """The parts of a run's files that are new, in lines."""
        history = files.get("wandb-history.jsonl", {})
        lines = STATE["points"].setdefault(run, [])
        lines[history.get("offset", len(lines)) :] = history.get("content", [])
        for line in files.get("wandb-summary.json", {}).get("content", []):
            STATE["summaries"][run] = json.loads(line)

    def graphql(self, query, variables):
        run = variables.get("name")
        project = {"id": "project", "name": variables.get("project"), "entity": ENTITY}
        if "upsertBucket" in query:
            inserted = run not in STATE["runs"]
            STATE["runs"].setdefault(run, {}).update({k: v for k, v in variables.items() if v is not None})
            bucket = {"id": run, "name": run, "displayName": run, "config": "{}", "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}
        if "upsertView" in query:
            return {"upsertView": self.saved(variables)}
        if "SpecificReport" in query:
            there = int(variables["reportId"].removeprefix("view-")) < len(STATE["views"])
            return {"view": {"id": variables["reportId"]} if there else None}
        if "ProjectInternalId" in query:
            return {"project": {"id": "project", "internalId": "internal"}}
        if "models(" in query:
            page = {"hasNextPage": False, "endCursor": None}
            return {"models": {"edges": [], "pageInfo": page}}
        if "createRunFiles" in query:
            address = f"http://{self.headers['Host']}/upload/"
            files = [{"name": name, "uploadUrl": address + name} for name in variables["files"]]
            return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}
        if "Artifact" in query:
            return self.artifact(query, variables)
        if "RunResumeStatus" in query:
            return {"model": {**project, "bucket": self.resumable(run)}}
        if "viewer" in query:
            return {"viewer": {**ENTITY, "username": "somebody", "entity": "somebody", "flags": "{}"}}
        return {}

    def artifact(self, query, variables):
        """The steps of an artifact in their order: begun, its files and the list of them sent, complete."""
        name = variables.get("artifactID") or variables.get("input", {}).get("artifactCollectionName")
        address = f"http://{self.headers['Host']}/upload/"
        if "createArtifact(" in query:
            return {"createArtifact": {"artifact": {"id": name, "state": "PENDING", "artifactSequence": {}}}}
        if "createArtifactFiles" in query:
            names = [f"{one['artifactID']}/{one['name']}" for one in variables["input"]["artifactFiles"]]
            nodes = [{"artifact": {"id": "-"}, "uploadUrl": address + n, "uploadHeaders": []} for n in names]
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        if "Manifest" in query:
            file = {"id": "list", "uploadUrl": address + "list", "uploadHeaders": []}
            kind = "updateArtifactManifest" if "updateArtifactManifest" in query else "createArtifactManifest"
            return {kind: {"artifactManifest": {"id": "list", "file": file}}}
        if "commitArtifact" in query:
            own = f"{name}/"
            files = {path.removeprefix(own): code for path, code in MD5.items() if path.startswith(own)}
            STATE["artifacts"][name] = files
            return {"commitArtifact": {"artifact": {"id": name, "digest": "-"}}}
        return {"project": None}

    def saved(self, variables):
        """A view in the place of the one that it names, else a new one."""
        inserted = variables.get("id") is None
        number = len(STATE["views"]) if inserted else int(variables["id"].removeprefix("view-"))
        STATE["views"][number : number + 1] = [variables]
        return {"view": {"id": f"view-{number}", "name": variables["name"]}, "inserted": inserted}

    def resumable(self, run):
        if run not in STATE["runs"]:
            return None
        lines = STATE["points"].get(run, [])
        counts = {"historyLineCount": len(lines), "logLineCount": 0, "eventsLineCount": 0}
        tails = {"historyTail": json.dumps(lines[-1:]), "eventsTail": "[]"}
        summary = json.dumps(STATE["summaries"].get(run, {}))
        return {"id": run, "name": run, "displayName": run, **counts, **tails, "summaryMetrics": summary,
                "config": "{}", "tags": [], "wandbConfig": '{"t": 1}'}  # fmt: skip


if __name__ == "__main__":
    port = 0
    if sys.argv[1:]:
        port, kept = sys.argv[1:]
        STATE |= json.loads(kept)
        time.sleep(AWAY_SECONDS)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
