# As much of OpenWrt's build system as the package's Makefile uses, so that it can be dumped and staged without an SDK.
# The caller sets TOPDIR, BUILD_DIR, STAGE_DIR, BUILD_VARIANT and BINARY.

INCLUDE_DIR:=$(TOPDIR)/include
PKG_SOURCE_DATE_EPOCH:=1700000000
INSTALL_DIR:=install -d -m 0755
INSTALL_BIN:=install -m 0755
INSTALL_DATA:=install -m 0644
INSTALL_CONF:=install -m 0600
