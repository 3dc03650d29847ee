python base_do_fetch() {
    bb.fetch2.Fetch(d.getVar("SRC_URI").split(), d).download()
}
addtask fetch

python base_do_unpack() {
    bb.fetch2.Fetch(d.getVar("SRC_URI").split(), d).unpack(d.getVar("UNPACKDIR"))
}
do_unpack[cleandirs] = "${UNPACKDIR}"
addtask unpack after do_fetch

do_patch() {
    :
}
addtask patch after do_unpack

base_do_configure() {
    :
}
addtask configure after do_patch

base_do_compile() {
    :
}
do_compile[dirs] = "${B}"
addtask compile after do_configure

base_do_install() {
    :
}
do_install[dirs] = "${B}"
do_install[cleandirs] = "${D}"
addtask install after do_compile

EXPORT_FUNCTIONS do_fetch do_unpack do_configure do_compile do_install
