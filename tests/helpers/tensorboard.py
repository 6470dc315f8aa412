"""A real TensorBoard server for tests, and what its HTTP API answers."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

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
    # A file for what it says, since a pipe that nobody reads is full one day.
    with (
        tempfile.NamedTemporaryFile() as said,
        subprocess.Popen(command, stderr=said, env=os.environ) as process,
    ):

        def addresses():
            assert process.poll() is None, Path(said.name).read_text()
            return re.findall(r"http://127\.0\.0\.1:\d+", Path(said.name).read_text())

        try:
            yield Server(wait_until(addresses)[0])
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()


def wait_until(condition):
    """Ask until the server, which starts and reads at its own pace, has got there; return the answer."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, "TensorBoard has not got there in time."
        time.sleep(0.2)
    return answer
