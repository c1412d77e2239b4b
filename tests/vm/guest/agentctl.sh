#!/lib/guest/busybox sh
# agentctl start [NAME]: starts the agent once, or the one of /lib/guest/NAME.cmd if there is one. /run/guest/agent.pid
# is its process, /run/guest/agent.exit its exit status when it has ended, agent.log what it said.
# agentctl pid [NAME]: prints the process.
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
cd /run/guest || exit 1
name=${2:-agent}

supervise() {
    sh "/lib/guest/$name.cmd" </dev/null >>"$name.log" 2>&1 &
    echo $! >"$name.pid.new"
    mv "$name.pid.new" "$name.pid"
    wait $!
    echo $? >"$name.exit.new"
    mv "$name.exit.new" "$name.exit"
}

case $1 in
start)
    [ -e "/lib/guest/$name.cmd" ] || exit 0
    rm -f "$name.pid" "$name.exit"
    supervise </dev/null >/dev/null 2>&1 &
    until [ -s "$name.pid" ]; do usleep 10000; done
    ;;
pid)
    cat "$name.pid"
    ;;
*)
    exit 2
    ;;
esac
