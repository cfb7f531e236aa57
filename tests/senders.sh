#!/usr/bin/env bash
# Sets up, under target/judges/senders, the libraries with which senders of webhooks sign, at the versions of
# tests/senders/versions.txt: a virtual environment for those of PyPI, a folder node_modules for those of npm. Node.js comes from the
# PATH, else from Debian. Safe to run again and at the same time; ends non-zero, saying what to do, when something cannot be
# had.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
home=$root/target/judges/senders
versions=$root/tests/senders/versions.txt
. "$root/tests/registries.sh"

command -v curl >/dev/null || install curl curl
command -v openssl >/dev/null || install openssl openssl

libraries
ready
