"""Packages of any Debian architecture, downloaded and unpacked without touching the host's apt and dpkg."""

import os
import re
import subprocess
from pathlib import Path

MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
SECURITY = os.environ.get("DEBIAN_SECURITY_MIRROR", "http://deb.debian.org/debian-security")
RELEASE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# The host's own apt.conf.d is read first, for its proxy; hooks that would run on the host are taken out again.
CONFIG = """\
#clear APT::Architectures;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "-";
"""


class Error(Exception):
    """A package could not be had."""


class Packages:
    """A private apt for one architecture, in a folder."""

    def __init__(self, arch: str, root: Path) -> None:
        self.root = root.absolute()
        for folder in ("state/lists/partial", "cache/archives/partial", "packages"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        source = f"deb [target=Packages signed-by={KEYRING}]"
        suites = f"{source} {MIRROR} {RELEASE} main\n{source} {SECURITY} {RELEASE}-security main\n"
        (self.root / "sources.list").write_text(suites)
        (self.root / "apt.conf").write_text(CONFIG.format(arch=arch, root=self.root))

    def apt(self, program: str, *args: str, cwd: Path | None = None) -> str:
        """Runs apt-get or apt-cache and returns what it prints."""
        command = [program, "-c", str(self.root / "apt.conf"), "-qq", *args]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
        if done.returncode:
            raise Error(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def update(self) -> None:
        """Reads the lists of packages. When one of the suites can't be had, what the other has is used, and said."""
        try:
            self.apt("apt-get", "update")
        except Error as error:
            print(f"warning: {error}", flush=True)

    def newest(self, package: str) -> str:
        """The package that a meta package depends on first."""
        found = re.search(r"^\s*Depends: (\S+)", self.apt("apt-cache", "depends", package), re.MULTILINE)
        if not found:
            raise Error(f"{package}: not a meta package, or not in the lists of {self.root}/sources.list")
        return found[1]

    def unpacked(self, package: str) -> Path:
        """The folder with the package's files: downloaded when this version is not there yet."""
        uri = self.apt("apt-get", "download", "--print-uris", package)
        found = re.match(r"'\S+' (\S+)", uri)
        if not found:
            raise Error(f"{package}: apt-get knows no file for it: {uri!r}")
        archive = self.root / "packages" / found[1]
        folder = archive.with_suffix("")
        if not folder.is_dir():
            self.apt("apt-get", "download", package, cwd=archive.parent)
            partial = folder.with_suffix(".partial")
            subprocess.run(["rm", "-rf", partial], check=True)
            subprocess.run(["dpkg-deb", "-x", archive, partial], check=True)
            partial.rename(folder)
            archive.unlink()
        return folder
