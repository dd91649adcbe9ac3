#!/bin/sh
# make_venv.sh FOLDER: a virtual environment by venv, else by virtualenv, else one sentence that says what to install.
set -eu
folder=$1
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null 2>&1; then
    echo "hwsim: no $python here; install Python 3.10 or newer (Debian: apt-get install python3 python3-venv) or name one: make PYTHON=python3.12 ..." >&2
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "hwsim: $python is $("$python" -V 2>&1), and hwsim needs 3.10 or newer; name another one: make PYTHON=python3.12 ..." >&2
    exit 2
fi
rm -rf "$folder"
# Debian's python3 has venv but not ensurepip until python3-venv is there: the import shows it without a half-made folder.
if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    exec "$python" -m venv "$folder"
fi
if "$python" -c 'import virtualenv' >/dev/null 2>&1; then
    exec "$python" -m virtualenv -q "$folder"
fi
if command -v virtualenv >/dev/null 2>&1; then
    exec virtualenv -q -p "$python" "$folder"
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
echo "hwsim: $python can make no virtual environment; install its venv module (Debian: apt-get install python${version}-venv) or virtualenv, then run make again." >&2
exit 2
