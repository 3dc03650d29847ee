"""The architectures: what each boots with."""

from dataclasses import dataclass

# Drivers of the disk, the network card and the file system, and what ext4 asks the kernel's crypto for. What they depend on
# comes along, what a kernel has built in is skipped.
MODULES_MMIO = ("virtio_mmio", "virtio_blk", "virtio_net", "crc32c_generic", "ext4")
MODULES_PCI = ("virtio_pci", "virtio_blk", "virtio_net", "crc32c_generic", "ext4")


@dataclass(frozen=True)
class Arch:
    """How to get, build and boot an image."""

    name: str
    triple: str  # of the agent, as `cross/build` has it
    elf: int  # e_machine of its programs
    debian: str  # Debian's name of the architecture
    kernel: str  # Debian's package that depends on the newest kernel of this kind
    modules: tuple[str, ...]
    qemu: tuple[str, ...]  # program and machine
    bus: str  # ending of the names of virtio devices
    console: str
    memory: int  # MiB that it is shown with (measured: docs/appliance.md)


ARCHES = {
    arch.name: arch
    for arch in (
        Arch(
            name="aarch64",
            triple="aarch64-unknown-linux-musl",
            elf=183,
            debian="arm64",
            kernel="linux-image-cloud-arm64",
            modules=MODULES_MMIO,
            qemu=("qemu-system-aarch64", "-M", "virt,gic-version=2", "-cpu", "cortex-a53"),
            bus="device",
            console="ttyAMA0",
            memory=64,
        ),
        Arch(
            name="armv7",
            triple="armv7-unknown-linux-musleabihf",
            elf=40,
            debian="armhf",
            kernel="linux-image-armmp",
            modules=MODULES_MMIO,
            qemu=("qemu-system-arm", "-M", "virt,highmem=off", "-cpu", "cortex-a7"),
            bus="device",
            console="ttyAMA0",
            memory=64,
        ),
        Arch(
            name="x86_64",
            triple="x86_64-unknown-linux-musl",
            elf=62,
            debian="amd64",
            kernel="linux-image-cloud-amd64",
            modules=MODULES_PCI,
            qemu=("qemu-system-x86_64", "-M", "pc"),
            bus="pci",
            console="ttyS0",
            memory=80,
        ),
    )
}
