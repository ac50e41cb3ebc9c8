#!/bin/sh
# PostgreSQL's archive_command: keeps one file of the write-ahead log, durable before it says so.
#   archive_command = '/usr/local/lib/uzima/archive.sh %p %f /srv/backup/uzima/wal'
set -eu
from=$1 name=$2 folder=$3
if [ -e "$folder/$name" ]; then
    # Asked again after a crash: good if it is the same, and never over another.
    cmp -s "$from" "$folder/$name"
    exit
fi
cp "$from" "$folder/.$name.partial"
sync "$folder/.$name.partial"
mv "$folder/.$name.partial" "$folder/$name"
sync "$folder"
