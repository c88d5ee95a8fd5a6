#!/bin/sh
# Writes requirements/*.txt from pyproject.toml: every version pinned, every file hashed, for every
# Python from 3.11 on, on Linux and macOS, and without the address of any package index.
# Arguments are passed on to uv: `tools/lock.sh --upgrade` takes newer versions.
set -eu
cd "$(dirname "$0")/.."
case ${1-} in
-h | --help)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' tools/lock.sh
    exit
    ;;
esac

lock() {
    output=requirements/$1.txt
    shift
    # A local folder of wheels on this machine has no place in a lock.
    env -u PIP_FIND_LINKS -u UV_FIND_LINKS .venv/bin/uv pip compile pyproject.toml \
        --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
        --quiet --output-file "$output" "$@"
}

lock dev --group dev "$@"
# The same versions in all three, so that what was tested is what runs.
lock local --group local --constraints requirements/dev.txt
lock runtime --constraints requirements/dev.txt

# dev.txt has only what it adds to local.txt. A package is a line and the indented ones below it.
{
    echo "-r local.txt"
    awk 'NR == FNR { known[$0]; next } /^[^ ]/ { add = !($0 in known) } add' \
        requirements/local.txt requirements/dev.txt
} > requirements/dev.txt.new
mv requirements/dev.txt.new requirements/dev.txt
