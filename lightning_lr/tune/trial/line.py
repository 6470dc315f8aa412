"""The line between a process of a trial and its worker, by which each notices that the other has died."""

import json
import os
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from functools import partial
from queue import Queue
from typing import Any

from typing_extensions import override

__all__ = ["Desk", "Line"]

Message = Mapping[str, Any]


class Line:
    """A process's line to its worker. If the worker dies, the process and what it started are killed.

    Args:
        port: Of the worker, on this machine.
        token: Tells the worker that the process is one of its trial.

    Raises:
        ConnectionError: There is no worker.
    """

    def __init__(self, port: int, token: str) -> None:
        try:
            self._socket = socket.create_connection(("127.0.0.1", port))
        except OSError as error:
            raise ConnectionError(
                "The worker of lightning_lr.tune that started this trial cannot be reached: it has ended, or"
                " runs on another machine. A trial has to run on the machine of its worker."
            ) from error
        self._token = token
        self._file = self._socket.makefile("rwb")
        self._answers: Queue[Any] = Queue()
        threading.Thread(target=self._listen, daemon=True, name="line-to-worker").start()

    def ask(self, kind: str, **values: Any) -> Any:
        """Send a message and wait for the answer."""
        message = {"kind": kind, "token": self._token, **values}
        self._file.write(json.dumps(message).encode() + b"\n")
        self._file.flush()
        return self._answers.get()

    def _listen(self) -> None:
        try:
            for answer in self._file:
                self._answers.put(json.loads(answer))
        except OSError:
            pass
        # The worker has died: another one makes this trial again. The group is the trial's own.
        os.killpg(os.getpgrp(), signal.SIGKILL)


class Desk:
    """A worker's end of the lines.

    Args:
        answer: Returns the answer to a message; called in a thread of each line.
    """

    def __init__(self, token: str, answer: Callable[[Message], Any]) -> None:
        class Handler(socketserver.StreamRequestHandler):
            @override
            def handle(self) -> None:
                for line in self.rfile:
                    message = json.loads(line)
                    if message.get("token") != token:
                        return
                    self.wfile.write(json.dumps(answer(message)).encode() + b"\n")

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

            @override
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Not on the console: a process that was killed has dropped its line."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        serve = partial(self._server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve, daemon=True, name="desk").start()

    def close(self) -> None:
        """Take no more lines."""
        self._server.shutdown()
        self._server.server_close()
