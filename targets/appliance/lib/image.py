"""Makes the kernel and the initramfs."""

import lzma
import os
import re
import shutil
from pathlib import Path

from .arch import Arch
from .debian import Error, Packages

ROOTFS = Path(__file__).parent.parent / "rootfs"
REPO = Path(__file__).parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
FOLDERS = ("bin", "data", "dev", "etc", "lib", "lib/modules", "proc", "run", "sys", "usr", "usr/bin")
LINKS = {
    "init": "bin/busybox",
    "bin/sh": "busybox",
    "etc/resolv.conf": "/run/resolv.conf",
    "etc/edge-gateway": "/data",
}


class Cpio:
    """An archive as the kernel reads it (Documentation/driver-api/early-userspace/buffer-format.rst): all root's, no times."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.entries = 0

    def add(self, name: str, mode: int, data: bytes = b"") -> None:
        """Adds a file, folder or link of this type and mode."""
        self.entries += 1
        encoded = name.encode() + b"\0"
        fields = (self.entries, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def bytes(self) -> bytes:
        """The whole archive."""
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)


def modules(tree: Path, wanted: tuple[str, ...]) -> list[Path]:
    """The files of these modules and of what they need, in the order of loading."""
    files = {path.stem.replace("-", "_"): path for path in tree.rglob("*.ko")}
    builtin = {Path(line).stem.replace("-", "_") for line in (tree / "modules.builtin").read_text().split()}
    order: list[Path] = []

    def visit(name: str) -> None:
        if name in builtin or files.get(name) in order:
            return
        if name not in files:
            raise Error(f"the kernel in {tree} has no module {name}")
        for value in re.findall(rb"\0depends=([^\0]*)\0", files[name].read_bytes()):
            for need in filter(None, value.decode().split(",")):
                visit(need.replace("-", "_"))
        order.append(files[name])

    for name in wanted:
        visit(name)
    return order


def initramfs(arch: Arch, busybox: Path, tree: Path, agent: bytes) -> bytes:
    """The root file system, compressed."""
    archive = Cpio()
    for folder in FOLDERS:
        archive.add(folder, 0o040755)
    for name, target in LINKS.items():
        archive.add(name, 0o120777, target.encode())
    loaded = modules(tree, arch.modules)
    for path in loaded:
        archive.add(f"lib/modules/{path.name}", 0o100644, path.read_bytes())
    archive.add("lib/modules/order", 0o100644, "".join(f"{path.name}\n" for path in loaded).encode())
    for path in sorted(ROOTFS.rglob("*")):
        if path.is_file():
            executable = path.stat().st_mode & 0o100
            archive.add(str(path.relative_to(ROOTFS)), 0o100755 if executable else 0o100644, path.read_bytes())
    archive.add("bin/busybox", 0o100755, busybox.read_bytes())
    archive.add("usr/bin/edge-gateway", 0o100755, agent)
    # The kernel's decoder knows CRC-32 only, and takes memory for the whole dictionary.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 20}]
    return lzma.compress(archive.bytes(), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, filters=filters)


def program(arch: Arch, named: Path | None) -> bytes:
    """The agent: a static binary of this architecture."""
    # cross/build always writes to the repository's own folder.
    path = named or REPO / "target/cross" / arch.triple / "full/edge-gateway"
    if not path.is_file():
        raise Error(f"{path}: no agent there: run cross/build {arch.triple}, or name one with --agent")
    data = path.read_bytes()
    machine = int.from_bytes(data[18:20], "little") if data[:4] == b"\x7fELF" else None
    if machine != arch.elf:
        raise Error(f"{path}: not a program for {arch.name} (ELF machine {machine}, not {arch.elf})")
    if b"/ld-linux" in data or b"/ld-musl" in data:
        raise Error(f"{path}: needs shared libraries, and the image has none: use what cross/build makes")
    return data


def make(arch: Arch, agent: Path | None = None) -> Path:
    """Makes `kernel` and `initramfs`, and returns their folder."""
    binary = program(arch, agent)
    out = TARGET / "appliance" / arch.name
    out.mkdir(parents=True, exist_ok=True)
    packages = Packages(arch.debian, out / "apt")
    packages.update()
    name = packages.newest(arch.kernel)
    release = name.removeprefix("linux-image-")
    linux = packages.unpacked(name)
    busybox = packages.unpacked("busybox-static") / "bin/busybox"
    shutil.copyfile(linux / "boot" / f"vmlinuz-{release}", out / "kernel")
    (out / "initramfs").write_bytes(initramfs(arch, busybox, linux / "lib/modules" / release, binary))
    return out
