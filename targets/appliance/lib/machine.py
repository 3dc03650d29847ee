"""A virtual machine, its console and its disk."""

import json
import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .arch import Arch

TAIL = 40
COMMAND_LINE = "panic=1 loglevel=4 cma=0 nr_cpus=1"


class Failure(Exception):
    """What was waited for did not come."""


def disk(path: Path, files: dict[str, str]) -> None:
    """Makes a state disk of 8 MiB with these files."""
    staging = path.with_suffix(".files")
    staging.mkdir(mode=0o700)
    try:
        for name, text in files.items():
            (staging / name).touch(mode=0o600)
            (staging / name).write_text(text)
            (staging / name).chmod(0o644 if name.endswith(".pem") else 0o600)
        staging.chmod(0o755)
        path.touch(mode=0o600)
        path.write_bytes(b"")
        command = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-m", "0", "-L", "edge-gateway", "-d", staging, path, "8M"]
        subprocess.run(command, check=True)
    finally:
        for name in files:
            (staging / name).unlink(missing_ok=True)
        staging.rmdir()


def command(arch: Arch, image: Path, state: Path, memory: int) -> list[str]:
    """QEMU's command line without console and clock. The guest reaches this machine's loopback at 10.0.2.2."""
    return [
        *arch.qemu,
        *("-m", str(memory), "-smp", "1", "-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(image / "kernel"), "-initrd", str(image / "initramfs")),
        *("-append", f"console={arch.console} {COMMAND_LINE}"),
        *("-drive", f"if=none,id=state,format=raw,file={state}", "-device", f"virtio-blk-{arch.bus},drive=state"),
        *("-netdev", "user,id=net", "-device", f"virtio-net-{arch.bus},id=nic,netdev=net,romfile=" if arch.bus == "pci"
          else f"virtio-net-{arch.bus},id=nic,netdev=net"),
    ]


class Machine:
    """A running machine whose console is read and typed on. Leaving the `with` block cuts its power."""

    def __init__(self, arch: Arch, image: Path, state: Path, memory: int, cable: bool = True, rtc: str = "utc") -> None:
        self.text = ""
        self.mark = 0
        self.started = time.monotonic()
        self.control, theirs = socket.socketpair()
        os.set_inheritable(theirs.fileno(), True)
        monitor = ["-chardev", f"socket,id=control,fd={theirs.fileno()}", "-mon", "chardev=control,mode=control", "-S"]
        self.process = subprocess.Popen(
            [*command(arch, image, state, memory), "-serial", "stdio", "-rtc", f"base={rtc}", *monitor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.answers = self.control.makefile("rb")
        self.answers.readline()  # the greeting
        self.qmp("qmp_capabilities")
        if not cable:
            self.cable(False)
        self.qmp("cont")

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()

    def qmp(self, execute: str, **arguments: object) -> None:
        """Gives QEMU an order."""
        self.control.settimeout(10)
        self.control.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
        while line := self.answers.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise Failure(f"QEMU refuses {execute}: {answer['error']['desc']}")
            if "return" in answer:
                return
        raise Failure(f"QEMU ended: {self.tail()}")

    def cable(self, plugged: bool) -> None:
        """Plugs the network cable in, or out."""
        self.qmp("set_link", name="nic", up=plugged)

    def cut_power(self) -> None:
        """Kills QEMU, as a power cut would."""
        self.process.kill()
        self.process.wait()
        self.control.close()

    def read(self, wait: float) -> bool:
        """Takes what the console has printed; whether there may be more."""
        output = self.process.stdout
        if select.select([output], [], [], max(wait, 0))[0]:
            more = os.read(output.fileno(), 65536)
            self.text += more.decode(errors="replace").replace("\r", "")
            return bool(more)
        return True

    def expect(self, pattern: str, limit: float) -> re.Match[str]:
        """Waits until the console shows this in whole lines, after what was found last."""
        wanted = re.compile(pattern, re.MULTILINE)

        def search() -> re.Match[str] | None:
            return wanted.search(self.text, self.mark, self.text.rfind("\n") + 1)

        self.wait(lambda: search() is not None, f"the console did not show {pattern!r}", limit)
        found = search()
        self.mark = found.end()
        return found

    def wait(self, ready: Callable[[], bool], otherwise: str, limit: float) -> None:
        """Waits until something has happened, here or elsewhere, while the machine runs."""
        end = time.monotonic() + limit
        alive = True
        while not ready():
            if not alive or time.monotonic() > end:
                when = f"within {limit:.0f} s" if alive else "before the machine ended"
                raise Failure(f"{otherwise} {when}; the end of the console:\n{self.tail()}")
            alive = self.read(0.1)

    def type(self, line: str) -> None:
        """Types a line on the console."""
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def shell(self) -> None:
        """Gets a shell on the console."""
        self.type("")
        self.type("echo shell-$((6 * 7))")
        self.expect("^shell-42$", 30)

    def ended(self, limit: float) -> None:
        """Waits until the machine has switched itself off."""
        end = time.monotonic() + limit
        while self.read(end - time.monotonic()):
            if time.monotonic() > end:
                raise Failure(f"the machine is still on after {limit:.0f} s; its console's end:\n{self.tail()}")
        self.process.wait(10)

    def up(self) -> float:
        """Seconds since the power came."""
        return time.monotonic() - self.started

    def tail(self) -> str:
        """The last lines of the console."""
        return "\n".join(f"    {line}" for line in self.text.splitlines()[-TAIL:])
