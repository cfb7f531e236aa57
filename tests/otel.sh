#!/usr/bin/env bash
# Sets up, under target/judges/otel, the clients and servers that speak OTLP with weir and that nobody here wrote, at the versions of
# tests/otel/versions.txt:
#   OpenTelemetry's SDKs       for Python (PyPI) and JavaScript (npm)
#   rotel                      another agent (PyPI, the program inside the wheel)
#   victoria-metrics           a database with an OTLP door; Debian's package of the suite that the versions name, unpacked: what
#                              older suites have is too old
# Nothing is installed into the system but Node.js where it is missing; no service is started. Safe to run again and at the same
# time; ends non-zero, saying what to do, when something cannot be had.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
home=$root/target/judges/otel
versions=$root/tests/otel/versions.txt

say() { printf 'otel: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

mkdir -p "$home/bin"
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
command -v npm >/dev/null || install npm "nodejs npm"

# A package of another suite than the system's: apt reads that suite's list into a folder of ours.
debian() {
  local suite=$1 package=$2 version=$3 apt="$home/apt"
  command -v apt-get >/dev/null || die "$package $version comes from Debian $suite, and this is no Debian"
  mkdir -p "$apt/lists/partial" "$apt/archives/partial"
  echo "deb http://deb.debian.org/debian $suite main" > "$apt/sources.list"
  local own=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache=$apt" -o "Dir::Cache::Archives=$apt/archives" -o "APT::Sandbox::User=$(id -un)")
  apt-get "${own[@]}" update >&2 || die "Debian's suite $suite is not reached"
  (cd "$apt/archives" && rm -f -- *.deb && apt-get "${own[@]}" download "$package=$version" >&2 && dpkg-deb -x ./*.deb "$home/root") \
    || die "Debian $suite has no $package $version any more: put the version it has into tests/otel/versions.txt"
  rm -rf "$apt"
}

rm -rf "$home/venv" "$home/node_modules" "$home/root"
python3 -m venv "$home/venv" 2>/dev/null || { rm -rf "$home/venv"; install venv python3-venv; python3 -m venv "$home/venv"; }
mapfile -t pypi < <(awk '$1 == "PyPI" { print $2 "==" $3 }' "$versions")
mapfile -t npm < <(awk '$1 == "npm" { print $2 "@" $3 }' "$versions")
say "pip install ${pypi[*]}"
"$home/venv/bin/pip" install --quiet --disable-pip-version-check "${pypi[@]}" >&2 || die "pip cannot install them: is PyPI reached?"
say "npm install ${npm[*]}"
(cd "$home" && npm install --silent --no-save --ignore-scripts --no-audit --no-fund --no-package-lock --prefix "$home" "${npm[@]}" >&2) \
  || die "npm cannot install them: is the npm registry reached?"
while read -r registry package version; do
  case $registry in debian-*) say "unpacking Debian's $package"; debian "${registry#debian-}" "$package" "$version" ;; esac
done < "$versions"
ln -sf "$(find "$home/root/usr/bin" -name 'victoria-metrics' | head -n 1)" "$home/bin/victoria-metrics"
rotel=$(find "$home/venv" -type f -name 'rotel*' -perm -u+x | head -n 1)
[ -n "$rotel" ] || die "the wheel of rotel holds no program"
ln -sf "$rotel" "$home/bin/rotel"
"$home/bin/victoria-metrics" --version >/dev/null 2>&1 || die "victoria-metrics does not run"
cp "$versions" "$home/versions.txt"
say "ready"
