"""What the layer says, asked of bitbake's parser, and what its recipe's tasks do. Run by yocto/check.

DOWNLOADS names a folder with the listed crates' archives, TARGET one for cargo. No network is there, and /etc may be
written to.
"""

import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
import unittest

from bitbake import LAYER, SERIES, TESTS, TOP, Build, bb, listening, run

DATA_FILES = {
    "systemd": [
        "/usr/lib/systemd/system/etc-edge\\x2dgateway.mount",
        "/usr/lib/systemd/system/var-lib-edge\\x2dgateway.mount",
        "/usr/lib/systemd/system/edge-gateway.service.d/data.conf",
        "/usr/lib/tmpfiles.d/edge-gateway-data.conf",
        "/usr/share/edge-gateway/edge-gateway.conf",
    ],
    "sysvinit": ["/usr/share/edge-gateway/edge-gateway.conf", "/etc/default/edge-gateway"],
}
AGENT_FILES = {
    "systemd": ["/usr/bin/edge-gateway", "/etc/edge-gateway/edge-gateway.conf", "/usr/lib/systemd/system/edge-gateway.service"],
    "sysvinit": [
        "/usr/bin/edge-gateway",
        "/etc/edge-gateway/edge-gateway.conf",
        "/etc/init.d/edge-gateway",
        "/usr/libexec/edge-gateway/supervise",
        "/etc/default/volatiles/99_edge-gateway",
    ],
}


def manifest():
    return tomllib.loads((TOP / "Cargo.toml").read_text())


def crates(data):
    return [url for url in data.getVar("SRC_URI").split() if url.startswith("crate://")]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="edge-gateway-yocto-")
        self.addCleanup(shutil.rmtree, self.folder)

    def build(self, **settings):
        return Build(self.folder, **settings)


class Parsed(Case):
    def test_every_series_without_a_warning(self):
        for series in SERIES:
            with self.subTest(series), listening() as said:
                build = self.build(series=series)
                recipes = [build.recipe(str(path.relative_to(LAYER))) for path in LAYER.glob("recipes-*/*/*.bb")]
                self.assertEqual([data.getVar("__SKIPPED") for data in recipes], [None] * 3)
                self.assertEqual(said, [])

    def test_an_older_series_is_refused(self):
        with listening() as said, self.assertRaises(bb.BBHandledException):
            self.build(series="scarthgap")
        self.assertIn("not compatible", said[0])

    def test_version_and_licence_are_the_projects(self):
        data, package = self.build().agent(), manifest()["workspace"]["package"]
        self.assertEqual(data.getVar("PV"), package["version"])
        self.assertEqual(data.getVar("LICENSE").replace("|", "OR"), package["license"])
        for entry in data.getVar("LIC_FILES_CHKSUM").split():
            name, md5 = re.fullmatch(r"file://(\S+);md5=(\S+)", entry).groups()
            self.assertEqual(hashlib.md5((TOP / name).read_bytes()).hexdigest(), md5, name)

    def test_each_crate_has_the_checksum_of_cargo_lock(self):
        data = self.build().agent()
        lock = tomllib.loads((TOP / "Cargo.lock").read_text())["package"]
        sums = {f"{package['name']}-{package['version']}": package.get("checksum") for package in lock}
        names = [re.fullmatch(r"crate://crates\.io/(\S+)/(\S+);name=\1-\2", url).expand(r"\1-\2") for url in crates(data)]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreater(len(names), 50)
        for name in names:
            self.assertEqual(data.getVarFlag("SRC_URI", name + ".sha256sum"), sums[name], name)
        # The test bed's.
        self.assertFalse([name for name in names if name.startswith(("russh", "rsa-", "proptest"))])

    def test_flavours_are_cargos_features(self):
        features = set(manifest()["features"]) - {"default"}
        flags = set(self.build().agent().getVarFlags("PACKAGECONFIG")) - {"doc"}
        self.assertEqual(flags, features, "a feature of Cargo.toml needs its PACKAGECONFIG, and the other way round")
        features.remove("full")
        expected = {
            "full": "",
            "core": "--no-default-features --features core",
            " ".join(sorted(features)): "--no-default-features --features " + ",".join(sorted(features)),
        }
        for chosen, words in expected.items():
            data = self.build(**{"PACKAGECONFIG:pn-edge-gateway": chosen}).agent()
            flags = data.getVar("CARGO_BUILD_FLAGS").split()
            self.assertEqual(" ".join(flags[flags.index("edge-gateway") + 1 :]), words, chosen)

    def test_certificate_authorities_are_the_systems_where_none_are_built_in(self):
        for chosen, needed in {"full": [], "core roots": [], "core": ["ca-certificates"], "core tls12": ["ca-certificates"]}.items():
            data = self.build(**{"PACKAGECONFIG:pn-edge-gateway": chosen}).agent()
            self.assertEqual((data.getVar("RDEPENDS:edge-gateway") or "").split(), needed, chosen)

    def test_the_projects_own_profile_is_built(self):
        self.assertIn("edge", manifest()["profile"])
        for series in SERIES:
            data = self.build(series=series).agent()
            self.assertIn("--profile edge ", data.getVar("CARGO_BUILD_FLAGS"), series)
            self.assertTrue(data.getVar("CARGO_TARGET_SUBDIR").endswith("/edge"), series)

    def test_services_user_and_packages(self):
        data = self.build().agent()
        self.assertEqual(data.getVar("SYSTEMD_SERVICE:edge-gateway"), "edge-gateway.service")
        self.assertEqual(data.getVar("INITSCRIPT_NAME"), "edge-gateway")
        self.assertEqual(data.getVar("CONFFILES:edge-gateway"), "/etc/edge-gateway/edge-gateway.conf")
        self.assertIn("--uid 861", data.getVar("USERADD_PARAM:edge-gateway"))
        self.assertIn("--gid 861", data.getVar("GROUPADD_PARAM:edge-gateway"))
        self.assertEqual(data.getVar("PACKAGES").split()[0], "edge-gateway-data")

    def test_the_image_is_read_only_and_has_its_partitions(self):
        build = self.build(EFI_PROVIDER="systemd-boot")
        image = build.recipe("recipes-core/images/*.bb")
        group = build.recipe("recipes-core/packagegroups/*.bb")
        self.assertIn("read-only-rootfs", image.getVar("IMAGE_FEATURES").split())
        self.assertIn(group.getVar("PN"), image.getVar("IMAGE_INSTALL").split())
        self.assertEqual(group.getVar("RDEPENDS:packagegroup-edge-gateway").split(), ["edge-gateway", "edge-gateway-data"])
        wks = pathlib.Path(image.getVar("WKS_FULL_PATH")).read_text()
        lines = [shlex.split(image.expand(line)) for line in wks.splitlines() if not line.startswith("#")]
        self.assertNotIn("${", image.expand(wks))
        self.assertEqual(
            [line[line.index("--label") + 1] for line in lines if line[0] == "part"], ["boot", "root-a", "root-b", "data"]
        )

    def test_the_image_mounts_data(self):
        image = self.build().recipe("recipes-core/images/*.bb")
        root = pathlib.Path(image.getVar("IMAGE_ROOTFS"))
        (root / "etc").mkdir(parents=True)
        self.assertIn("add_data_partition", image.getVar("ROOTFS_POSTPROCESS_COMMAND").split())
        bb.build.exec_func("add_data_partition", image)
        self.assertTrue((root / "data").is_dir())
        self.assertEqual((root / "etc/fstab").read_text().split()[:3], ["LABEL=data", "/data", "ext4"])

    def test_a_layer_without_its_repository_says_what_to_set(self):
        layer = pathlib.Path(self.folder) / "alone/layers/meta-edge-gateway"
        shutil.copytree(LAYER, layer)
        data = self.build(layer=layer).agent()
        self.assertIn("set EDGE_GATEWAY_SRC_URI and SRCREV", data.getVar("__SKIPPED"))
        mirror = {"EDGE_GATEWAY_SRC_URI": "git://git.example.com/x.git;protocol=https;nobranch=1", "SRCREV": "0" * 40}
        self.assertIsNone(self.build(layer=layer, **mirror).agent().getVar("__SKIPPED"))


class Built(unittest.TestCase):
    """Fetched, unpacked, compiled and installed, offline, from what the recipe lists and nothing else."""

    @classmethod
    def setUpClass(cls):
        # Always the same: cargo compiles anew what lies elsewhere than before.
        cls.folder = os.environ["TARGET"] + "-work"
        shutil.rmtree(cls.folder, ignore_errors=True)
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.settings = {
            "DL_DIR": os.environ["DOWNLOADS"],
            "CARGO_TARGET": os.environ["TARGET"],
            "CARGO_PROFILE:pn-edge-gateway": "dev",  # `edge` takes minutes and proves no more of the list
            "DISTRO_FEATURES": "systemd sysvinit",
        }
        cls.data = Build(cls.folder, **cls.settings).agent()
        run(cls.data, "fetch", "unpack")
        cls.unpacked = pathlib.Path(cls.data.getVar("S"))
        cls.vendored = pathlib.Path(cls.data.getVar("UNPACKDIR")) / "cargo_home/bitbake"
        # The tree under work, so that what is not committed yet is checked too.
        cls.data.setVar("S", str(TOP))
        for command in ("groupadd " + cls.data.getVar("GROUPADD_PARAM:edge-gateway"),
                        "useradd " + cls.data.getVar("USERADD_PARAM:edge-gateway")):
            subprocess.run(shlex.split(command), check=True)
        run(cls.data, "configure", "compile", "install")
        cls.image = pathlib.Path(cls.data.getVar("D"))

    def files(self, image):
        return {"/" + str(path.relative_to(image)) for path in image.rglob("*") if not path.is_dir()}

    def test_the_checkout_is_what_is_fetched(self):
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=TOP, check=True, capture_output=True, text=True).stdout
        fetched = subprocess.run(["git", "rev-parse", "HEAD"], cwd=self.unpacked, check=True, capture_output=True, text=True).stdout
        self.assertEqual(fetched, head)

    def test_the_crates_are_the_listed_ones(self):
        names = sorted(url.rpartition("name=")[2] for url in crates(self.data))
        self.assertEqual(sorted(path.name for path in self.vendored.iterdir()), names)
        for name in names:
            checksum = json.loads((self.vendored / name / ".cargo-checksum.json").read_text())["package"]
            self.assertEqual(checksum, self.data.getVarFlag("SRC_URI", name + ".sha256sum"))

    def test_no_listed_crate_can_be_left_out(self):
        """Those for other systems neither: cargo asks for them, though it builds none."""
        for prefix in ("httparse-", "windows-link-"):
            crate = next(path for path in self.vendored.iterdir() if path.name.startswith(prefix))
            hidden = crate.rename(pathlib.Path(self.folder) / crate.name)
            try:
                with self.assertRaises(bb.process.ExecutionError) as raised:
                    run(self.data, "configure")
                self.assertIn(f"no matching package named `{prefix[:-1]}` found", "".join(raised.exception.__notes__))
            finally:
                hidden.rename(crate)
        run(self.data, "configure")

    def test_the_agent_runs(self):
        said = subprocess.run([self.image / "usr/bin/edge-gateway", "version"], check=True, capture_output=True, text=True).stdout
        self.assertIn(self.data.getVar("PV"), said)

    def test_what_is_installed_where_by_whom(self):
        for features in ("systemd", "sysvinit"):
            folder = pathlib.Path(self.folder) / features
            data = Build(folder, **(self.settings | {"DISTRO_FEATURES": features})).agent()
            data.setVar("UNPACKDIR", self.data.getVar("UNPACKDIR"))
            run(data, "install")
            image = pathlib.Path(data.getVar("D"))
            self.assertEqual(self.files(image), set(AGENT_FILES[features] + DATA_FILES[features]))
            for path, mode, owner in (
                ("etc/edge-gateway", 0o750, (0, 861)),
                ("etc/edge-gateway/edge-gateway.conf", 0o640, (0, 861)),
                ("var/lib/edge-gateway", 0o700, (861, 861)),
                ("usr/bin/edge-gateway", 0o755, (0, 0)),
            ):
                status = (image / path).stat()
                self.assertEqual((status.st_mode & 0o7777, (status.st_uid, status.st_gid)), (mode, owner), path)
            patterns = data.getVar("FILES:edge-gateway-data").split()
            packaged = {
                path
                for path in self.files(image)
                if any(pathlib.PurePath(path).match(pattern) or path.startswith(pattern + "/") for pattern in patterns)
            }
            self.assertEqual(packaged, set(DATA_FILES[features]))

    def test_the_init_script(self):
        subprocess.run(["unshare", "--mount", TESTS / "sysvinit", self.image], check=True)

    def test_the_units_on_a_read_only_root(self):
        subprocess.run([TESTS / "systemd", self.image], check=True)

    def test_the_unit_holds(self):
        unit = "edge-gateway.service"
        folder = self.image / "usr/lib/systemd/system"
        # Newer than Debian 12's systemd, which warns of it and goes on.
        known = "'ImportCredential' in section"
        # The targets that the unit names are systemd's own.
        environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:/usr/lib/systemd/system"}
        copy = folder / unit
        text = copy.read_text()
        copy.write_text(text.replace("/usr/bin/edge-gateway", str(self.image / "usr/bin/edge-gateway")))
        try:
            said = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], env=environment, capture_output=True, text=True)
        finally:
            copy.write_text(text)
        complaints = [line for line in said.stderr.splitlines() if "edge-gateway" in line and known not in line]
        self.assertEqual(complaints, [])
        subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=15", copy],
            env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )


if __name__ == "__main__":
    unittest.main(verbosity=2)
