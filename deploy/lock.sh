#!/bin/sh
# Writes requirements/*.txt from pyproject.toml: every version pinned, every file hashed, for every
# Python from 3.11 on, on Linux and macOS, and without the address of any package index.
# Arguments are passed on to uv: `deploy/lock.sh --upgrade` takes newer versions.
set -eu
cd "$(dirname "$0")/.."

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
