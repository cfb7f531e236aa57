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
. "$root/tests/registries.sh"

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

rm -rf "$home/root"
mkdir -p "$home/bin"
libraries
while read -r registry package version; do
  case $registry in debian-*) say "unpacking Debian's $package"; debian "${registry#debian-}" "$package" "$version" ;; esac
done < "$versions"
ln -sf "$(find "$home/root/usr/bin" -name 'victoria-metrics' | head -n 1)" "$home/bin/victoria-metrics"
rotel=$(find "$home/venv" -type f -name 'rotel*' -perm -u+x | head -n 1)
[ -n "$rotel" ] || die "the wheel of rotel holds no program"
ln -sf "$rotel" "$home/bin/rotel"
"$home/bin/victoria-metrics" --version >/dev/null 2>&1 || die "victoria-metrics does not run"
ready
