python () {
    for package in (d.getVar("USERADD_PACKAGES") or bb.fatal("no USERADD_PACKAGES")).split():
        if not d.getVar("USERADD_PARAM:" + package):
            bb.fatal("no USERADD_PARAM for " + package)
}
