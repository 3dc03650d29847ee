INIT_D_DIR = "${sysconfdir}/init.d"

python () {
    for name in ("INITSCRIPT_NAME", "INITSCRIPT_PARAMS"):
        if not d.getVar(name):
            bb.fatal("%s inherits update-rc.d and has no %s" % (d.getVar("PN"), name))
}
