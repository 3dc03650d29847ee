#!/bin/sh
# Makes the certificates of this folder: a private root, and a server certificate for 127.0.0.1 only.
# Their dates are fixed, because tests set the clock against them.
set -eu
cd "$(dirname "$0")"
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out leaf.key
cat > leaf.cnf <<'CONF'
[ca]
default_ca = ca
[ca]
database = index.txt
rand_serial = yes
default_md = sha256
policy = any
new_certs_dir = .
[any]
commonName = supplied
[leaf]
subjectAltName = IP:127.0.0.1
extendedKeyUsage = serverAuth
CONF
openssl req -x509 -new -key ca.key -subj "/CN=edge-gateway test root" -days 36500 -out ca.pem \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
: > index.txt
openssl req -new -key leaf.key -subj "/CN=edge-gateway test platform" -out leaf.csr
openssl ca -batch -config leaf.cnf -extensions leaf -in leaf.csr -keyfile ca.key -cert ca.pem -notext \
    -startdate 20260101000000Z -enddate 20360101000000Z -out leaf.pem
rm -f ca.key leaf.csr leaf.cnf index.txt* ./*.old [0-9A-F]*.pem
