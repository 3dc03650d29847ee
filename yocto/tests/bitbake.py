"""bitbake's own parser and task runner, from PyPI's bitbake-setup, on a stand-in for openembedded-core (core/)."""

import contextlib
import logging
import os
import pathlib
import sys
import types

# The wheel leaves out bitbake's two servers, which its parser imports and does not use here.
for name in ("hashserv", "hashserv.client", "prserv", "prserv.serv"):
    module = types.ModuleType(name)
    module.is_valid_unihash = lambda unihash: True
    sys.modules[name] = module

import bb
import bb.build
import bb.cookerdata
import bb.data
import bb.fetch2
import bb.parse
import bb.process

TESTS = pathlib.Path(__file__).resolve().parent
TOP = TESTS.parent.parent
LAYER = TESTS.parent / "meta-edge-gateway"
SERIES = ("whinlatter", "wrynose", "blacksail")


class Said(logging.Handler):
    """What bitbake warned of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def listening():
    said, logger = Said(), logging.getLogger("BitBake")
    logger.addHandler(said)
    try:
        yield said.lines
    finally:
        logger.removeHandler(said)


class Build:
    """A build directory: its configuration is parsed at once, recipes on demand."""

    def __init__(self, folder, series="wrynose", layer=LAYER, **settings):
        self.folder, self.layer = pathlib.Path(folder), pathlib.Path(layer)
        (self.folder / "conf").mkdir(parents=True, exist_ok=True)
        lines = [f'SERIES = "{series}"', 'BBPATH = "${TOPDIR}"', f'BBLAYERS = "{TESTS / "core"} {self.layer}"']
        lines += [f'{name} = "{value}"' for name, value in settings.items()]
        (self.folder / "conf/bblayers.conf").write_text("\n".join(lines) + "\n")
        os.chdir(self.folder)
        configuration = bb.cookerdata.CookerConfiguration()
        configuration.env = os.environ | {"BB_ENV_PASSTHROUGH_ADDITIONS": "RUSTUP_HOME RUSTUP_TOOLCHAIN"}
        self.builder = bb.cookerdata.CookerDataBuilder(configuration)
        self.builder.parseBaseConfiguration()

    def recipe(self, pattern):
        """The data of the one recipe whose path matches. Why it cannot be built, if so, is in __SKIPPED."""
        (path,) = self.layer.glob(pattern)
        bb.parse.cached_mtime_noerror(str(path))
        data = self.builder.parseRecipeVariants(str(path), [], mc="", layername="edge-gateway")[""]
        if data.getVar("SRC_URI") and not data.getVar("__SKIPPED"):
            # As base.bbclass has it: revisions are looked up while parsing, and not later.
            bb.fetch2.get_hashvalue(data)
        return data

    def agent(self):
        return self.recipe("recipes-connectivity/edge-gateway/*.bb")


@contextlib.contextmanager
def output_to(path):
    """All that this process and its children print goes to a file."""
    sys.stdout.flush()
    kept = [os.dup(1), os.dup(2)]
    with open(path, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        for number, old in enumerate(kept, 1):
            os.dup2(old, number)
            os.close(old)


def run(data, *tasks):
    """Runs a recipe's tasks, in the order given. An error holds what the task printed."""
    for task in tasks:
        local = bb.data.createCopy(data)
        local.setVar("BB_RUNTASK", "do_" + task)
        local.setVar("BB_CURRENTTASK", task)
        log = pathlib.Path(data.getVar("T")) / f"log.do_{task}"
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with output_to(log):
                bb.build.exec_func("do_" + task, local)
        except (bb.BBHandledException, bb.process.ExecutionError) as error:
            error.add_note(log.read_text(errors="replace")[-3000:])
            raise
