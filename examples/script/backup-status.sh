#!/bin/sh
# Says what is known of a backup: when it ended and how large it is.
#
# guestd has checked the parameters. What is written to stdout is the answer, as JSON. After an exit status other than
# 0 the first line on stderr is the error that the host sees.
set -eu

for parameter; do
    case $parameter in
    --job=*) job=${parameter#*=} ;;
    --verify=*) verify=${parameter#*=} ;;
    esac
done

file=${BACKUP_DIRECTORY:-/var/backups}/$job.tar.gz
if [ ! -f "$file" ]; then
    echo "there is no backup of '$job'" >&2
    exit 1
fi

intact=null
if [ "${verify:-false}" = true ]; then
    if gzip -t "$file" 2>/dev/null; then intact=true; else intact=false; fi
fi

printf '{"job": "%s", "ended": %s, "bytes": %s, "intact": %s}\n' \
    "$job" "$(stat -c %Y "$file")" "$(stat -c %s "$file")" "$intact"
