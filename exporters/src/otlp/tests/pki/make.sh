#!/bin/sh
# Makes the certificates that the tests of the exporters use, valid for a hundred years. Their keys are public: they are good for
# nothing else. Run in this folder; needs openssl 3.
set -eu
ca() { # name
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=weir test $1" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout "$1.key" -out "$1.pem"
}
leaf() { # name ca san usage
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=$1" -CA "$2.pem" -CAkey "$2.key" \
        -addext basicConstraints=critical,CA:FALSE -addext "subjectAltName=$3" -addext "extendedKeyUsage=$4" -keyout "$1.key" -out "$1.pem"
}
ca ca
ca other-ca
leaf server ca DNS:otel.example serverAuth
leaf elsewhere ca DNS:elsewhere.example serverAuth
leaf client ca DNS:agent.example clientAuth
rm ca.key other-ca.key
