# What the scripts that set up programs of PyPI, npm and Debian share. Sourced, with `home`, the folder to fill, and `versions`, the
# file that says with what, set. Ends the script when all is there already; holds a lock until the script ends.
# shellcheck shell=bash

say() { printf '%s: %s\n' "$(basename "$home")" "$*" >&2; }
die() { say "$*"; exit 1; }

mkdir -p "$home"
exec 9>"$home/lock"
flock 9
cmp -s "$versions" "$home/versions.txt" && exit 0

# what is missing, packages: Debian's packages, into the system.
install() {
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || die "$1 is missing: install $2 and run again"
  say "apt-get install $2"
  apt-get update -qq >&2
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $2 >&2
}

# A virtual environment with the versions' libraries of PyPI, and a folder node_modules with those of npm.
libraries() {
  local pypi npm
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
}

# All is there: the next run has nothing to do.
ready() {
  cp "$versions" "$home/versions.txt"
  say "ready"
}
