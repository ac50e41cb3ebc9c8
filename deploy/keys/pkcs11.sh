#!/bin/sh
# Keeps Uzima's key under a key that never leaves a smart card or security module (PKCS#11).
#
#   UZIMA_KEY_PROGRAM=/usr/local/lib/uzima-pkcs11,MODULE,TOKEN,ID,PIN_FILE
#
# MODULE is the maker's library (e.g. /usr/lib/opensc-pkcs11.so), TOKEN the label of the token, ID the key's in hexadecimal
# digits; PIN_FILE holds the PIN and is readable by the server's user only. The key is made once, on the token:
#
#   pkcs11-tool --module MODULE --login --token-label TOKEN --keygen --key-type AES:32 --id ID --label uzima --sensitive
#
# Needs opensc (pkcs11-tool) and xxd. What is stored is IV and ciphertext (AES-256-CBC): whether it was changed shows in the
# keyring, which then does not open, as AES-GCM protects it.
set -eu
umask 077
[ $# -eq 5 ] || { echo "usage: $0 MODULE TOKEN ID PIN_FILE wrap|unwrap" >&2; exit 2; }
module=$1 token=$2 id=$3 pin_file=$4 what=$5

# In memory where there is such a place: the key passes through these files.
[ -d /dev/shm ] && TMPDIR=/dev/shm && export TMPDIR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The PIN reaches the tool by its environment: arguments are seen by everybody on the machine.
PIN=$(cat "$pin_file")
export PIN

ask() {
    if ! pkcs11-tool --module "$module" --login --pin env:PIN --token-label "$token" --id "$id" \
        --mechanism AES-CBC-PAD "$@" >"$work/told" 2>&1; then
        grep -m 1 "^error" "$work/told" >&2 || tail -n 1 "$work/told" >&2
        exit 1
    fi
}

case $what in
wrap)
    tr -d '\n' | xxd -r -p >"$work/plain"
    iv=$(head -c 16 /dev/urandom | xxd -p)
    ask --encrypt --iv "$iv" --input-file "$work/plain" --output-file "$work/sealed"
    echo "$iv$(xxd -p -c 256 "$work/sealed")"
    ;;
unwrap)
    tr -d '\n' >"$work/line"
    iv=$(head -c 32 "$work/line")
    tail -c +33 "$work/line" | xxd -r -p >"$work/sealed"
    ask --decrypt --iv "$iv" --input-file "$work/sealed" --output-file "$work/plain"
    xxd -p -c 64 "$work/plain"
    ;;
*)
    echo "wrap or unwrap, not $what" >&2
    exit 2
    ;;
esac
