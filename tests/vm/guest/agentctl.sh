#!/lib/guest/busybox sh
# agentctl start: starts the agent once. /run/guest/agent.pid is its process,
# /run/guest/agent.exit its exit status when it has ended, agent.log what it said.
# agentctl pid: prints the process.
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH
cd /run/guest || exit 1

supervise() {
    sh /lib/guest/agent.cmd </dev/null >>agent.log 2>&1 &
    echo $! >agent.pid.new
    mv agent.pid.new agent.pid
    wait $!
    echo $? >agent.exit.new
    mv agent.exit.new agent.exit
}

case $1 in
start)
    rm -f agent.pid agent.exit
    supervise </dev/null >/dev/null 2>&1 &
    until [ -s agent.pid ]; do usleep 10000; done
    ;;
pid)
    cat agent.pid
    ;;
*)
    exit 2
    ;;
esac
