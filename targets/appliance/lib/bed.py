"""The test bed: a platform, a relay and a target on this machine, and a client's view of the tunnel."""

import os
import re
import select
import shlex
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from .machine import Failure

REPO = Path(__file__).parents[3]
GUEST_VIEW = "10.0.2.2"  # this machine's loopback, from inside QEMU's user network
CLIENT = 20  # seconds that a client may take
TAIL = 20


def program() -> Path:
    """The test bed's binary: the one that TESTBED names, or built now."""
    if named := os.environ.get("TESTBED"):
        return Path(named)
    subprocess.run(["cargo", "build", "--quiet", "--locked", "-p", "testbed", "--bin", "testbed"], cwd=REPO, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")) / "debug/testbed"


class Road:
    """The way to the platform's API, which can be closed: a port of its own that leads there."""

    def __init__(self, port: int) -> None:
        self.there = port
        self.listener = self.listen(0)
        self.port = self.listener.getsockname()[1]

    def listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.serve, args=(listener,), daemon=True).start()
        return listener

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.there))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    @staticmethod
    def carry(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # whoever went away, the other direction sees it too

    def close(self) -> None:
        """Refuses connections from now on."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def open(self) -> None:
        """Leads there again."""
        self.listener = self.listen(self.port)


class Bed:
    """A running `testbed serve`. Leaving the `with` block stops it."""

    def __init__(self, binary: Path) -> None:
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen([binary, "serve", "--host", GUEST_VIEW], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.collect, daemon=True).start()
        with self.changed:
            if not self.changed.wait_for(lambda: self.count("^# What happens"), 60):
                raise Failure(f"the test bed is not there after 60 s; what it printed:\n{self.tail()}")
        head = "\n".join(self.lines)
        self.settings = dict(re.findall(r"^export (\w+)='(.*)'$", head, re.MULTILINE))
        self.client = shlex.split(re.search(r"^openssl s_client(?:.*\\\n)*.*$", head, re.MULTILINE)[0].replace("\\\n", " "))
        self.token = self.settings["INFISICAL_TOKEN"]
        self.road = Road(int(self.settings["INFISICAL_DOMAIN"].rsplit(":", 1)[1]))

    def __enter__(self) -> "Bed":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def collect(self) -> None:
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()

    def count(self, pattern: str) -> int:
        """How many lines it has printed that show this."""
        return sum(1 for line in self.lines if re.search(pattern, line))

    def tail(self) -> str:
        """Its last lines."""
        return "\n".join(f"    {line}" for line in self.lines[-TAIL:])

    def files(self, **changes: str | None) -> dict[str, str]:
        """The files of a state disk for this bed, with these settings changed or (None) left out."""
        settings = self.settings | {
            "INFISICAL_DOMAIN": f"https://{GUEST_VIEW}:{self.road.port}",
            "EDGE_GATEWAY_CA_FILE": "/data/ca.pem",
        }
        settings |= {"EDGE_GATEWAY_STATE_DIR": None} | changes
        lines = (f"{name}={value}\n" for name, value in settings.items() if value is not None)
        return {"edge-gateway.conf": "".join(lines), "ca.pem": Path(self.settings["EDGE_GATEWAY_CA_FILE"]).read_text()}

    def ask(self, alpn: str, sent: bytes, expected: bytes) -> float:
        """Sends bytes through the tunnel with OpenSSL's client and waits for those; the seconds that it took."""
        arguments = [alpn if part == "infisical-tcp-proxy" else part for part in self.client]
        started = time.monotonic()
        received = b""
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            try:
                client.stdin.write(sent)
                client.stdin.flush()
                while len(received) < len(expected):
                    left = started + CLIENT - time.monotonic()
                    if left <= 0 or not select.select([client.stdout], [], [], left)[0]:
                        break
                    if not (more := os.read(client.stdout.fileno(), 65536)):
                        break
                    received += more
            finally:
                client.kill()
            if received != expected:
                why = client.stderr.read().decode(errors="replace").strip()
                raise Failure(f"{alpn}: {len(received)} bytes came instead of {len(expected)}: {received[:60]!r} {why}")
        return time.monotonic() - started
