#!/usr/bin/env bash
# Sets up, under target/judges/senders, the libraries with which senders of webhooks sign, at the versions of
# tests/senders/versions.txt: a virtual environment for those of PyPI, a folder node_modules for those of npm. Node.js comes from the
# PATH, else from Debian. Safe to run again and at the same time; ends non-zero, saying what to do, when something cannot be
# had.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
home=$root/target/judges/senders
versions=$root/tests/senders/versions.txt

say() { printf 'senders: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

mkdir -p "$home"
exec 9>"$home/lock"
flock 9
cmp -s "$versions" "$home/versions.txt" && exit 0

install() {
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || die "$1 is missing: install $2 and run again"
  say "apt-get install $2"
  apt-get update -qq >&2
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $2 >&2
}
command -v curl >/dev/null || install curl curl
command -v openssl >/dev/null || install openssl openssl
command -v npm >/dev/null || install npm "nodejs npm"

rm -rf "$home/venv" "$home/node_modules"
python3 -m venv "$home/venv" 2>/dev/null || { rm -rf "$home/venv"; install venv python3-venv; python3 -m venv "$home/venv"; }
mapfile -t pypi < <(awk '$1 == "PyPI" { print $2 "==" $3 }' "$versions")
mapfile -t npm < <(awk '$1 == "npm" { print $2 "@" $3 }' "$versions")
say "pip install ${pypi[*]}"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check "${pypi[@]}" >&2 || die "pip cannot install them: is PyPI reached?"
say "npm install ${npm[*]}"
(cd "$home" && npm install --silent --no-save --ignore-scripts --no-audit --no-fund --no-package-lock --prefix "$home" "${npm[@]}" >&2) \
  || die "npm cannot install them: is the npm registry reached?"
cp "$versions" "$home/versions.txt"
say "ready"
