#!/bin/sh
# Installs what the tests need beyond Python, a C compiler and make, on Debian and its kin as root;
# elsewhere it says what to install, and fails. Does nothing where all is there.
#
#   tests/tools.sh            installs what is missing
#   tests/tools.sh --check    only tells
set -eu

builds() { # COMPILER FLAGS...: whether it makes a program of an empty one
    compiler=$1
    shift
    command -v "$compiler" >/dev/null 2>&1 &&
        printf '%s\n' "$source" | "$compiler" -xc - "$@" -o /dev/null >/dev/null 2>&1
}

there() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }

missing=
need() { # WHAT FOR PACKAGES...
    printf '%-34s %s\n' "$1" "$2"
    shift 2
    missing="$missing $*"
}

look() {
    missing=
    source='int main(void) { return 0; }'
    builds "${CC:-cc}" -fsanitize=address,undefined ||
        need 'ASan and UBSan of the C compiler' 'make sanitize, fuzz-corpus' gcc libc6-dev
    builds gcc -fsanitize=thread || need 'TSan of gcc' 'tests of threads' gcc libc6-dev
    there gcov || need 'gcov' 'coverage of branches' gcc
    builds clang || need 'clang' 'make fuzz' clang
    source='int LLVMFuzzerTestOneInput(const char *data, unsigned long bytes);
            int LLVMFuzzerTestOneInput(const char *data, unsigned long bytes) {
                return data && bytes ? 0 : 0;
            }'
    builds clang -fsanitize=fuzzer,address,undefined ||
        need 'libFuzzer and sanitizers of clang' 'make fuzz' libclang-rt-dev
    source='int main(void) { return 0; }'
    builds clang -fprofile-instr-generate -fcoverage-mapping ||
        need 'profiles of clang' 'make fuzz-coverage' libclang-rt-dev
    { there llvm-cov && there llvm-profdata; } ||
        need 'llvm-cov, llvm-profdata' 'make fuzz-coverage' llvm
    there strace || need 'strace' 'the audit of system calls' strace
    { there mkfs.ext4 && there e2fsck; } || need 'mkfs.ext4' 'real power cuts' e2fsprogs
    { there mount && there losetup; } || need 'mount, losetup' 'real power cuts' mount
}

look
[ -n "$missing" ] || exit 0
packages=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
[ "${1:-}" != --check ] || exit 1
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
    echo "Install these: as root on Debian, \`apt-get install $packages\`; elsewhere packages like them." >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes --quiet --no-install-recommends $packages >/dev/null 2>&1 || {
    apt-get update --quiet >/dev/null
    apt-get install --yes --quiet --no-install-recommends $packages
}
look
[ -z "$missing" ] || { echo "still missing:$missing" >&2; exit 1; }
echo "installed: $packages"
