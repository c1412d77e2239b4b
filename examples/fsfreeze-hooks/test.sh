#!/bin/bash
# Tries each hook with a real server: its data lies on a loop image, guestd freezes that while a client writes, the image is
# copied, and a second server must find everything in the copy. In a private mount namespace; root only.
#
# usage: test.sh GUESTD [postgresql|mariadb|redis]...
# Closes with "N passed, N failed, N skipped". A server that is not installed is skipped.

set -u
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1-}" != --inside ]; then
    guestd=$(realpath "${1:?usage: $0 GUESTD [SERVER]...}")
    shift
    [ "$(id -u)" -eq 0 ] || { echo "skipped: hooks are tested as root"; echo "0 passed, 0 failed, 3 skipped"; exit 0; }
    base=$(mktemp -d /dev/shm/guestd-hooks.XXXXXX)
    chmod 755 "$base"
    trap 'rm -rf "$base"' EXIT
    unshare -m bash "$0" --inside "$base" "$guestd" "$@"
    exit
fi

base=$2 guestd=$3
shift 3

# The root becomes an overlay in memory; no file system of the machine stays in sight.
private_root() {
    set -e
    mount --make-rprivate /
    mkdir "$base/upper" "$base/work" "$base/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
    for dir in proc sys dev; do mount --rbind /$dir "$base/root/$dir"; done
    cd "$base/root"
    mkdir .old
    pivot_root . .old
    umount -l /.old
    rmdir /.old
    mkdir -p "$base/run" && mount -t tmpfs -o mode=755 none "$base/run"
    mkdir -p /run && mount -t tmpfs -o mode=755 none /run
    set +e
    cd /
}

# Fails with what was expected.
die() {
    echo "  $*"
    exit 1
}

# Calls a command of the agent and prints what it answers.
agent() {
    "$guestd" call --socket "$base/agent" "$@"
}

answers() {
    local wanted=$1 got
    shift
    got=$(agent "$@" 2>&1)
    [ "$got" = "$wanted" ] || die "$*: wanted $wanted, got $got"
}

# eventually SECONDS COMMAND...
eventually() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || die "never: $*"
        sleep 0.1
    done
}

# says WANTED COMMAND...: whether a command prints just that.
says() {
    local wanted=$1
    shift
    [ "$("$@")" = "$wanted" ]
}

# image NAME USER: a file system of its own at $base/NAME, and a directory for sockets.
image() {
    truncate -s 512M "$base/$1.img"
    mkfs.ext4 -q "$base/$1.img"
    mkdir -p "$base/$1" "$base/run/$1"
    mount -o loop "$base/$1.img" "$base/$1"
    install -d -o "$2" -m 700 "$base/$1/data"
    chown "$2" "$base/run/$1"
}

# start_agent HOOK SETTINGS: guestd with this one hook.
start_agent() {
    mkdir -p "$base/hooks"
    chmod 755 "$base/hooks"
    install -m 755 "$here/$1" "$base/hooks/$1"
    printf '%s\n' "$2" >"$base/hooks/$1.conf"
    cat >"$base/guestd.toml" <<TOML
[[channel]]
method = "unix-listen"
path = "$base/agent"

[plugins.fsfreeze]
hooks-dir = "$base/hooks"
include = ["$base/**"]
TOML
    mkdir -p "$base/run/state"
    "$guestd" -c "$base/guestd.toml" -t "$base/run/state" 2>"$base/log" &
    started+=($!)
    eventually 60 test -S "$base/agent"
}

# freeze NAME: as a hypervisor asks for it; freezes NAME: and it works.
freeze() {
    agent guest-fsfreeze-freeze-list "{\"mountpoints\": [\"$base/$1\"]}"
}

freezes() {
    local got
    got=$(freeze "$1" 2>&1)
    [ "$got" = 1 ] || die "the freeze of $1: $got"
}

# freeze_and_copy NAME: what a hypervisor does; the copy is mounted at $base/NAME.copy.
freeze_and_copy() {
    freezes "$1"
    cp --sparse=always "$base/$1.img" "$base/$1.copy.img"
    answers 1 guest-fsfreeze-thaw
    mkdir -p "$base/$1.copy"
    mount -o loop "$base/$1.copy.img" "$base/$1.copy"
}

# What this test has started, by its process numbers.
started=()

end_all() {
    local pid
    # A server that still writes would wait for ever.
    fsfreeze -u "$base/$1" 2>/dev/null
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
    # One that cannot save its data does not end otherwise.
    (sleep 5; kill -9 "${started[@]}" 2>/dev/null) &
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null; done
    kill $! 2>/dev/null
}

test_postgresql() {
    local bin sql
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
    [ -n "$bin" ] || { echo "  there is no PostgreSQL"; return 77; }
    image postgresql postgres
    local as=(setpriv --reuid postgres --regid postgres --init-groups)
    pg() { "${as[@]}" "$@"; }
    serve() { # DIRECTORY PORT
        "${as[@]}" "$bin/postgres" -D "$1" -p "$2" -k "$base/run/postgresql" -c listen_addresses= -c logging_collector=off \
            -c checkpoint_timeout=1h -c shared_buffers=16MB >>"$base/run/postgresql.log" 2>&1 &
        started+=($!)
        eventually 60 pg "$bin/pg_isready" -q -h "$base/run/postgresql" -p "$2"
    }
    sql() { pg "$bin/psql" -XqAt -h "$base/run/postgresql" -p "$1" -d postgres -c "$2"; }
    pg "$bin/initdb" -D "$base/postgresql/data" -A trust >/dev/null || die "initdb failed"
    serve "$base/postgresql/data" 5555
    sql 5555 "CREATE TABLE t (n bigserial PRIMARY KEY, x text)" || die "no table"
    (while sql 5555 "INSERT INTO t (x) SELECT md5(random()::text) FROM generate_series(1, 100)"; do :; done) 2>/dev/null &
    started+=($!)
    start_agent 20-postgresql "TARGETS='host=$base/run/postgresql port=5555 dbname=postgres'"
    eventually 60 says t sql 5555 "SELECT count(*) > 500 FROM t"
    before=$(sql 5555 "SELECT max(n) FROM t")
    checkpoint() { pg "$bin/pg_controldata" "$1/data" | sed -n "s/^Latest checkpoint's REDO location: *//p"; }
    old=$(checkpoint "$base/postgresql")
    freeze_and_copy postgresql
    [ "$(checkpoint "$base/postgresql.copy")" != "$old" ] || die "there was no checkpoint"
    after=$(sql 5555 "SELECT max(n) FROM t")
    eventually 60 says t sql 5555 "SELECT max(n) > $after FROM t"
    rm "$base/postgresql.copy/data/postmaster.pid"
    serve "$base/postgresql.copy/data" 5556
    copied=$(sql 5556 "SELECT max(n) FROM t")
    [ "$copied" -ge "$before" ] || die "$before rows before the freeze, $copied in the copy"
    [ "$(sql 5556 'SELECT count(*) % 100 FROM t')" = 0 ] || die "half of a transaction is in the copy"
}

test_mariadb() {
    command -v mariadbd >/dev/null || { echo "  there is no MariaDB"; return 77; }
    image mariadb mysql
    local run=$base/run/mariadb
    serve() { # DIRECTORY NAME
        mariadbd --no-defaults --user=mysql --datadir="$1" --socket="$run/$2" --pid-file="$run/$2.pid" --skip-networking \
            --innodb-buffer-pool-size=16M --innodb-log-file-size=16M --myisam-recover-options=OFF \
            --log-error="$run/$2.log" 2>/dev/null &
        started+=($!)
        eventually 60 mariadb-admin --no-defaults --socket="$run/$2" ping
    }
    sql() { mariadb --no-defaults --socket="$run/$1" --batch --skip-column-names test -e "$2"; }
    mariadb-install-db --no-defaults --user=mysql --datadir="$base/mariadb/data" --auth-root-authentication-method=socket \
        >/dev/null 2>&1 || die "mariadb-install-db failed"
    serve "$base/mariadb/data" first
    mariadb --no-defaults --socket="$run/first" -e "CREATE DATABASE IF NOT EXISTS test"
    sql first "CREATE TABLE i (n INT AUTO_INCREMENT PRIMARY KEY, x CHAR(32)) ENGINE=InnoDB" || die "no table"
    sql first "CREATE TABLE m (n INT AUTO_INCREMENT PRIMARY KEY, x CHAR(32), KEY (x)) ENGINE=MyISAM"
    (while sql first "INSERT INTO i (x) VALUES (MD5(RAND())); INSERT INTO m (x) VALUES (MD5(RAND()))"; do :; done) 2>/dev/null &
    started+=($!)
    start_agent 20-mariadb "OPTIONS='--no-defaults --socket=$run/first' DIR=$run/hook LIMIT=2"
    eventually 60 says 1 sql first "SELECT COUNT(*) > 20 FROM m"
    before=$(sql first "SELECT MAX(n) FROM m")
    freeze_and_copy mariadb
    after=$(sql first "SELECT MAX(n) FROM m")
    eventually 60 says 1 sql first "SELECT MAX(n) > $after FROM m"
    serve "$base/mariadb.copy/data" second
    copied=$(sql second "SELECT MAX(n) FROM m")
    [ "$copied" -ge "$before" ] || die "$before rows before the freeze, $copied in the copy"
    # A MyISAM table that was open for writing says here that it was not closed properly.
    sane=$(sql second "CHECK TABLE m, i" | cut -f 3,4 | sort -u)
    [ "$sane" = "$(printf 'status\tOK')" ] || die "the copy's tables: $sane"

    # A table that somebody else has locked: the hook gives up, the freeze fails, and nothing stays locked.
    mkfifo "$run/hold"
    (echo "LOCK TABLES m WRITE; SELECT 'got it';"; cat "$run/hold") |
        mariadb --no-defaults --socket="$run/first" --unbuffered test >"$run/locker" 2>&1 &
    locker=$!
    started+=($locker)
    eventually 60 grep -q 'got it' "$run/locker"
    freeze mariadb >"$run/answer" 2>&1 && die "froze in spite of a locked table"
    grep -q 'Lock wait timeout exceeded' "$run/answer" || die "answered $(cat "$run/answer")"
    answers '"thawed"' guest-fsfreeze-status
    [ ! -e "$run/hook/holder" ] || die "the hook's session is still there"
    : >"$run/hold"
    wait $locker

    # A lock that is lost before the thaw makes the thaw an error.
    freezes mariadb
    kill "$(cat "$run/hook/holder")"
    eventually 60 test ! -d "/proc/$(cat "$run/hook/holder")"
    agent guest-fsfreeze-thaw >"$run/answer" 2>&1 && die "a lost lock was not noticed"
    grep -q 'the lock was lost' "$run/answer" || die "answered $(cat "$run/answer")"
}

test_redis() {
    command -v redis-server >/dev/null || { echo "  there is no Redis"; return 77; }
    image redis redis
    local run=$base/run/redis as=(setpriv --reuid redis --regid redis --init-groups)
    serve() { # DIRECTORY NAME
        "${as[@]}" redis-server --port 0 --unixsocket "$run/$2" --dir "$1" --save "3600 1" --daemonize no \
            --logfile "$run/$2.log" &
        started+=($!)
        eventually 60 says PONG redis-cli -s "$run/$2" ping
    }
    serve "$base/redis/data" first
    (n=0; while redis-cli -s "$run/first" SET last $((n += 1)); do :; done) >/dev/null 2>&1 &
    started+=($!)
    start_agent 20-redis "OPTIONS='-s $run/first'"
    redis-cli -s "$run/first" SET kept word >/dev/null
    freeze_and_copy redis
    serve "$base/redis.copy/data" second
    [ "$(redis-cli -s "$run/second" GET kept)" = word ] || die "what was in memory is not in the copy"

    # With an append-only file no snapshot is made, and nothing acknowledged is missing.
    redis-cli -s "$run/first" CONFIG SET appendonly yes >/dev/null
    aof_is_ready() { redis-cli -s "$run/first" INFO persistence | grep -q 'aof_rewrite_in_progress:0'; }
    eventually 60 aof_is_ready
    saved=$(redis-cli -s "$run/first" LASTSAVE)
    redis-cli -s "$run/first" SET kept another >/dev/null
    freezes redis
    answers 1 guest-fsfreeze-thaw
    [ "$(redis-cli -s "$run/first" LASTSAVE)" = "$saved" ] || die "a snapshot was made beside the append-only file"

    # A snapshot that cannot be made fails the freeze.
    redis-cli -s "$run/first" CONFIG SET appendonly no >/dev/null
    redis-cli -s "$run/first" CONFIG SET dbfilename none.rdb >/dev/null
    chmod 500 "$base/redis/data"
    freeze redis >"$run/answer" 2>&1 && die "froze without a snapshot"
    grep -q 'the snapshot failed' "$run/answer" || die "answered $(cat "$run/answer")"
    answers '"thawed"' guest-fsfreeze-status
}

private_root
passed=0 failed=0 skipped=0
[ $# -gt 0 ] || set -- postgresql mariadb redis
for name in "$@"; do
    (trap 'end_all "$name"' EXIT; "test_$name")
    case $? in
    0) passed=$((passed + 1)); echo "ok: $name" ;;
    77) skipped=$((skipped + 1)); echo "skipped: $name" ;;
    *) failed=$((failed + 1)); echo "FAILED: $name"; sed 's/^/  agent: /' "$base/log" 2>/dev/null ;;
    esac
    # A file system that stays frozen would outlive the namespace.
    for dir in "$base/$name" "$base/$name.copy"; do fsfreeze -u "$dir" 2>/dev/null; umount -l "$dir" 2>/dev/null; done
    rm -rf "$base/hooks" "$base/agent" "$base/run/state"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
