#!/bin/sh
# Make the secrets of compose.yaml once. The folder is closed to others, and the files in it are readable,
# because containers read them under other user ids.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
make() {
    [ -e "secrets/$1" ] || { printf '%s' "$2" > "secrets/$1"; chmod 444 "secrets/$1"; }
}
make postgres_password "$(openssl rand -hex 24)"
make key_pepper "$(openssl rand -hex 32)"
make database_url "postgresql://mavera:$(cat secrets/postgres_password)@postgres:5432/mavera"
echo "The secrets are in $(pwd)/secrets. Keep a copy of key_pepper away from this machine: no key works without it."
