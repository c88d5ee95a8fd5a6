#!/bin/sh
# Makes a virtual environment with the first Python >= 3.11 that is found.
#     tools/venv.sh FOLDER [PYTHON]
set -eu
folder=$1
shift
[ $# -gt 0 ] || set -- python3 python3.14 python3.13 python3.12 python3.11 python

python=
for candidate in "$@"; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Roomcast needs Python 3.11 or newer; none was found among: $*" >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3 ..." >&2
    exit 1
fi
if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    echo "$python has no venv module or no ensurepip. On Debian and Ubuntu:" >&2
    echo "    apt-get install $(basename "$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')")-venv" >&2
    exit 1
fi
echo "Making $folder with $("$python" --version) ..."
# Half an environment would look like a whole one to make.
"$python" -m venv --clear "$folder" || { rm -rf "$folder"; exit 1; }
