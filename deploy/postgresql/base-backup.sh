#!/bin/sh
# A base backup beside the archived log, checked, with the newest keys of patients; weekly, by a timer.
#   base-backup.sh /srv/backup/uzima 'postgres://uzima@127.0.0.1/uzima'
set -eu
folder=$1 url=$2
name=base-$(date -u +%Y%m%dT%H%M%SZ)
pg_basebackup --dbname="$url" --pgdata="$folder/$name.partial" --wal-method=stream --checkpoint=fast
pg_verifybackup --quiet "$folder/$name.partial"
sync --file-system "$folder/$name.partial"
mv "$folder/$name.partial" "$folder/$name"
"$(dirname "$0")/dump-keys.sh" "$folder" "$url"
echo "$folder/$name"
