"""A running `tollgate demo` on free ports, for the tests beside it."""

import json
import os
import pathlib
import queue
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("TOLLGATE", ROOT / "target/debug/tollgate")).resolve()
PLANES = ("api", "admin", "proxy", "sandbox")
PATIENCE = 60


class House:
    """The gateway and the simulated providers, from `with` until its end.

    `api`, `admin`, `proxy` and `sandbox` are the addresses that the process printed. Leaving the block asks it to stop, and
    fails when it does not end well.
    """

    def __init__(self, *arguments):
        self.arguments = arguments

    def __enter__(self):
        free = [word for flag in ("--listen", "--admin", "--proxy", "--sandbox") for word in (flag, "127.0.0.1:0")]
        command = [BINARY, "demo", *free, "--seed", "7", "--speed", "50", *self.arguments]
        self.messages = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.messages, text=True)
        try:
            for plane, address in self._listening().items():
                setattr(self, plane, address)
            self._ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            self.messages.close()
            raise
        return self

    def __exit__(self, kind, _error, _trace):
        with self.messages:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"it did not stop when asked:\n{self.said()}") from None
            if kind is None and code != 0:
                raise AssertionError(f"it ended with {code}:\n{self.said()}")
            if kind is not None:
                print(self.said())

    def said(self):
        """The last messages of the process."""
        self.messages.seek(0)
        return "".join(self.messages.readlines()[-20:])

    def bill(self):
        """What the providers charged: one entry for each call that reached them."""
        return call(f"{self.sandbox}/_sandbox/calls")

    def faults(self, faults):
        """What goes wrong at the providers from now on."""
        call(f"{self.sandbox}/_sandbox/faults", "PUT", faults)

    def forget(self):
        """Ends the faults, and the providers' bill begins anew."""
        call(f"{self.sandbox}/_sandbox", "DELETE")

    def _listening(self):
        lines = queue.Queue()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()
        found, until = {}, time.monotonic() + PATIENCE
        while any(plane not in found for plane in PLANES):
            try:
                line = lines.get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"it does not listen after {PATIENCE} s:\n{self.said()}") from None
            if line is None:
                raise AssertionError(f"it ended before it listened:\n{self.said()}")
            match line.split():
                case ["listening", plane, address]:
                    found[plane] = address
        return found

    def _read(self, lines):
        with self.process.stdout as stdout:
            for line in stdout:
                lines.put(line)
        lines.put(None)

    def _ready(self):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"{self.admin}/readyz", timeout=PATIENCE):
                    return
            except urllib.error.HTTPError as error:
                if time.monotonic() > until:
                    raise AssertionError(f"readyz stays {error.code}:\n{self.said()}") from error
                time.sleep(0.05)


def call(url, method="GET", body=None):
    """JSON in, JSON out."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def run(*arguments, **options):
    """Runs the command line to its end and returns what it printed."""
    done = subprocess.run([BINARY, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, **options)
    if done.returncode != 0:
        raise AssertionError(f"tollgate {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
