#!/bin/sh
# asan.sh PYTHON: the tests of the C core, with the core built under the address and undefined-behaviour sanitizers.
set -eu
python=$1
root=$PWD/build/asan/root
cmake -S . -B build/asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DHWSIM_SANITIZE=address,undefined >/dev/null
cmake --build build/asan --parallel 2
rm -rf "$root" && mkdir -p "$root"
cp -r hwsim "$root/"
# cmake --install keeps a file of the same second: it must not find the library of `make native` here.
rm -rf "$root/hwsim/_native"
cmake --install build/asan --prefix "$root" >/dev/null
# Python is not built with the sanitizer, so its runtime must be loaded first; Python's own leaks are not the subject.
# Pictures are left out: matplotlib throws C++ exceptions, which a sanitizer loaded before libstdc++ cannot follow.
# The path is cleared of the current folder, whose hwsim/ has the library without sanitizers.
LD_PRELOAD="$(cc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONPATH="$root" "$python" -c '
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import pytest
sys.exit(pytest.main(sys.argv[1:]))' -q -m "not slow" --ignore tests/execute/test_picture.py tests/native tests/conformance tests/execute
