"""A real TensorBoard server for tests, and what its HTTP API answers."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

PATIENCE = 90.0  # seconds


class Server:
    """A TensorBoard server and what its HTTP API answers."""

    def __init__(self, address):
        self.address = address

    def get(self, path, **query):
        url = f"{self.address}/data/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read()

    def json(self, path, **query):
        return json.loads(self.get(path, **query))

    def post(self, path, body):
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/data/{path}", json.dumps(body).encode(), kind)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def curve(self, run, tag):
        # JSON has wall time, step and value of each point.
        points = self.json("plugin/scalars/scalars", run=run, tag=tag)
        return [(step, value) for _, step, value in points]

    def curves(self, run):
        tags = self.json("plugin/scalars/tags")[run]
        return {tag: self.curve(run, tag) for tag in tags if tag != "hp_metric"}


@contextlib.contextmanager
def serve(folder, *options):
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--port", "0"]
    command += ["--host", "127.0.0.1", "--samples_per_plugin", "scalars=1000", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            address = next(
                found[0] for line in process.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
            )
            yield Server(address)
        finally:
            process.terminate()


def wait_until(condition):
    """Ask again until the server, which reads the files at its own pace, has got there."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "TensorBoard has not read the logs in time."
        time.sleep(0.2)
