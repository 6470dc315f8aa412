"""A script that acts as a fit under `lightning_lr.tune`, without Lightning: it starts at once.

Its validation loss is |log2(LR) + 5|, told after each of its epochs. Arguments: what else it does.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


def ask(kind, **values):
    line.write(json.dumps({"kind": kind, "token": spec["token"], **values}).encode() + b"\n")
    line.flush()
    return json.loads(line.readline())


def misbehave():
    if "deaf" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in options:
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        Path(options["child"]).write_text(str(child.pid))
    if "fails" in options:
        sys.stdout.write("so it goes\n")
        sys.exit("ValueError: broken")
    if "dies" in options:
        os.kill(os.getpid(), signal.SIGKILL)


def fit(lr):
    octave = math.log2(lr)
    ask("began", rank=0, pid=os.getpid(), group=os.getpgrp())
    misbehave()
    if octave > float(options.get("raises_above", "inf")):
        ask("failed", error="ValueError: nan", traceback="", diverged=True)
        sys.exit(1)
    count = int(options.get("epochs", 3))
    for epoch in range(count):
        time.sleep(float(options.get("seconds", 0)))
        loss = abs(octave + 5) + count - 1 - epoch
        diverges = octave > float(options.get("diverges_above", "inf"))
        if "exits" in options:
            sys.exit(0)
        if not ask("report", value=math.nan if diverges else loss, share=(epoch + 1) / count):
            break
    ask("finished")
    if "lingers" in options:
        time.sleep(600)


if __name__ == "__main__":
    spec = json.loads(os.environ["LIGHTNING_LR_TRIAL"])
    options = dict(each.split("=") for each in sys.argv[1:])
    line = socket.create_connection(("127.0.0.1", spec["port"])).makefile("rwb")
    if spec["task"] == "look":
        if "quits" not in options:
            monitor = options.get("monitor", spec["monitor"] or "loss/val")
            ask("seen", monitor=monitor, own=2.0**-7, found=2.0**-4, reason="", folder="")
    else:
        fit(spec["lr"])
