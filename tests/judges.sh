#!/usr/bin/env bash
# Sets up, under target/judges, the programs that judge weir's output and that nobody here wrote:
#   prometheus, promtool       the scraper itself, and its linter
#   prometheus-pushgateway     a consistency check over whole bodies
#   pgbouncer                  PostgreSQL behind transaction pooling
#   mariadbd, mariadb          MariaDB, its installer and its client
#   prometheus_client          a strict OpenMetrics 1.0 parser (PyPI)
#   fluxgate, pybreaker        libraries whose breakers weir tells of (PyPI)
# Programs on the PATH are used as they are. Missing ones come from Debian's packages, unpacked into target/judges: nothing is
# installed into the system and no service is started. Safe to run again and at the same time; ends non-zero, saying what to
# do, when something cannot be had.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
home=$root/target/judges
client=prometheus_client==0.26.0

say() { printf 'judges: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

mkdir -p "$home/bin"
exec 9>"$home/lock"
flock 9

# apt needs root for its lists and for what goes into the system; unpacking a package does not.
apt_lists() {
  command -v apt-get >/dev/null || die "$1 is not on the PATH and this is no Debian: install $1 and run again"
  if [ -z "$(apt-cache policy "$1" 2>/dev/null | sed -n 's/ *Candidate: *//p' | grep -v none)" ]; then
    [ "$(id -u)" = 0 ] || die "apt knows no package $1: run 'apt-get update' as root, or install $1, and run again"
    say "apt-get update"
    apt-get update -qq >&2
  fi
}

unpack() {
  say "unpacking Debian's $1"
  local work
  work=$(mktemp -d "$home/download.XXXXXX")
  (cd "$work" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" "$1" >&2 && dpkg-deb -x ./*.deb "${home_root:-$home/root}") \
    || { rm -rf "$work"; die "cannot download Debian's package $1: install $1 and run again"; }
  rm -rf "$work"
}

# package, programs: links each program into target/judges/bin, from the PATH or out of the package.
fetch() {
  local package=$1 program found
  shift
  for program in "$@"; do
    [ -x "$home/bin/$program" ] && continue
    if found=$(command -v "$program"); then
      say "$program: using $found"
      ln -sf "$found" "$home/bin/$program"
      continue
    fi
    if [ ! -x "$home/root/usr/bin/$program" ]; then
      apt_lists "$package"
      unpack "$package"
      [ -x "$home/root/usr/bin/$program" ] || die "package $package holds no /usr/bin/$program"
    fi
    ln -sf "$home/root/usr/bin/$program" "$home/bin/$program"
  done
}

fetch prometheus prometheus promtool
fetch prometheus-pushgateway prometheus-pushgateway

if [ ! -x "$home/bin/pgbouncer" ]; then
  if found=$(command -v pgbouncer); then
    say "pgbouncer: using $found"
    ln -sf "$found" "$home/bin/pgbouncer"
  else
    apt_lists pgbouncer
    unpack pgbouncer
    unpack libc-ares2
    libraries=$(dirname "$(find "$home/root" -name 'libcares.so.2' | head -n 1)")
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$home/root/usr/sbin/pgbouncer" > "$home/bin/pgbouncer.new"
    chmod +x "$home/bin/pgbouncer.new"
    mv "$home/bin/pgbouncer.new" "$home/bin/pgbouncer"
  fi
fi

# MariaDB's programs find each other, their messages and their plugins under one folder, so Debian's are unpacked whole, even where some
# other version is installed. A service that Debian would start is none of ours.
mariadb=$home/mariadb
if [ ! -x "$home/bin/mariadb-install-db" ]; then
  for package in mariadb-server-core mariadb-client-core liburing2 libaio1 libnuma1 libedit2 libncurses6 libsystemd0 libpcre2-8-0; do
    apt_lists "$package"
    home_root=$mariadb unpack "$package"
  done
  libraries=$mariadb/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)
  script() {
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s:%s exec %s "$@" %s\n' \
      "$libraries" "$mariadb/lib/$(basename "$libraries")" "$2" "${3:-}" > "$home/bin/$1.new"
    chmod +x "$home/bin/$1.new"
    mv "$home/bin/$1.new" "$home/bin/$1"
  }
  script mariadb "$mariadb/usr/bin/mariadb"
  script mariadbd "$mariadb/usr/sbin/mariadbd" "--basedir=$mariadb/usr"
  script mariadb-install-db "sh $mariadb/usr/bin/mariadb-install-db" "--basedir=$mariadb/usr"
fi

if ! "$home/venv/bin/python" -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then
  rm -rf "$home/venv"
  if ! python3 -m venv "$home/venv" 2>/dev/null; then
    rm -rf "$home/venv"
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] \
      || die "python3 with its venv module is missing: install python3-venv and run again"
    say "apt-get install python3-venv"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv >&2
    python3 -m venv "$home/venv"
  fi
  say "pip install $client"
  "$home/venv/bin/pip" install --quiet --disable-pip-version-check "$client" >&2 \
    || { rm -rf "$home/venv"; die "pip cannot install $client: is PyPI reached?"; }
fi

# folder, packages: libraries whose users weir serves, each version on its own. After the venv above, so that python3 has one.
libraries() {
  local folder=$1 package
  shift
  for package in "$@"; do
    if ! "$home/$folder/bin/pip" show --quiet "${package%%==*}" 2>/dev/null; then
      [ -x "$home/$folder/bin/pip" ] || python3 -m venv "$home/$folder"
      say "pip install $*"
      "$home/$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 \
        || { rm -rf "$home/$folder"; die "pip cannot install $*: is PyPI reached?"; }
      return
    fi
  done
}

libraries fluxgate-0.6.1 fluxgate==0.6.1 "$client"
libraries fluxgate-0.9.4 fluxgate==0.9.4 "$client"
libraries pybreaker pybreaker==1.4.1

for program in prometheus promtool prometheus-pushgateway pgbouncer mariadb mariadbd; do
  "$home/bin/$program" --version >/dev/null 2>&1 || die "$home/bin/$program does not run"
done
say "ready: $("$home/bin/promtool" --version 2>&1 | head -n 1)"
