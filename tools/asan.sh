#!/bin/sh
# asan.sh PYTHON: the tests of the C core, with the core built under the address and undefined-behaviour sanitizers.
set -eu
python=$1
root=build/asan/root
cmake -S . -B build/asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DHWSIM_SANITIZE=address,undefined >/dev/null
cmake --build build/asan --parallel 2
rm -rf "$root" && mkdir -p "$root"
cp -r hwsim "$root/"
cmake --install build/asan --prefix "$root" >/dev/null
# Python itself is not built with the sanitizer, so its runtime must be there first; Python's own leaks are not the subject.
LD_PRELOAD="$(cc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONPATH="$root" "$python" -P -m pytest -q -m 'not slow' tests/native tests/conformance 2>/dev/null || status=$?
exit "${status:-0}"
