#!/bin/sh
# The newest keys of patients, and only the newest: whoever was erased must be readable in no backup. Daily, and after an
# erasure. They are wrapped under the installation's key, which is not here.
#   dump-keys.sh /srv/backup/uzima 'postgres://uzima@127.0.0.1/uzima'
set -eu
folder=$1 url=$2
pg_dump --dbname="$url" --schema=uzima_keys --file="$folder/uzima-keys.sql.partial"
sync "$folder/uzima-keys.sql.partial"
mv "$folder/uzima-keys.sql.partial" "$folder/uzima-keys.sql"
sync "$folder"
