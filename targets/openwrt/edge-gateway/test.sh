#!/bin/sh
# What the feed's own tests ask of a package: test.sh PACKAGE VERSION, in a root file system that has it installed.

case "$1" in
	edge-gateway | edge-gateway-core) edge-gateway --version | grep -F "edge-gateway $2" ;;
esac
