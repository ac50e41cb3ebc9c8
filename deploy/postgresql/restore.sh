#!/bin/sh
# A new data folder of PostgreSQL as of an instant, from a base backup of before it and the archived log. Start the server on
# it; it stops reading the log at the instant and goes on from there. Then put-keys.sh, before Uzima starts.
#   restore.sh /srv/backup/uzima/base-20260301T020000Z /srv/backup/uzima/wal '2026-03-04 10:13:50+03' /var/lib/postgresql/restored
set -eu
base=$1 wal=$2 instant=$3 data=$4
if [ -e "$data" ]; then
    echo "$data is there already" >&2
    exit 1
fi
cp -R "$base" "$data"
chmod 700 "$data"
cat >> "$data/postgresql.auto.conf" <<END
restore_command = 'cp "$wal/%f" "%p"'
recovery_target_time = '$instant'
recovery_target_action = 'promote'
END
touch "$data/recovery.signal"
