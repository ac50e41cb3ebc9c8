#!/bin/sh
# Puts the newest keys of patients in place of the restored ones, before Uzima starts: it then removes what the restored
# database still holds of patients who were erased since.
#   put-keys.sh /srv/backup/uzima 'postgres://uzima@127.0.0.1/uzima'
set -eu
folder=$1 url=$2
psql --dbname="$url" --quiet --set=ON_ERROR_STOP=1 --single-transaction \
    --command='DROP SCHEMA IF EXISTS uzima_keys CASCADE' --file="$folder/uzima-keys.sql"
