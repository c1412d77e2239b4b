"""Other people's clients against an agent on a socket: `clients.py SOCKET DIR`. Harmless commands, a line each.

virttest.guest_agent is what Red Hat's tests of guests use, qemu.qmp QEMU's own library for Python. They are run as they come
from the registry, and nothing of them is in guestd.
"""

import asyncio
import os
import sys
import time
from unittest.mock import MagicMock

from qemu.qmp import ExecuteError, QMPClient
from virttest import guest_agent


class Checks:
    """Prints what was tried, and counts what failed."""

    def __init__(self, client):
        self.client = client
        self.tried = 0
        self.failed = 0

    def check(self, what, call, expected=lambda answer: True):
        """Calls, and holds the answer against an expectation: a value, or a function of it."""
        self.tried += 1
        try:
            answer = call()
            fits = expected(answer) if callable(expected) else answer == expected
            verdict = "ok" if fits else f"FAILED: {str(answer)[:200]}"
        except Exception as error:  # Whatever a client raises is a failure of this one call.
            verdict = f"FAILED: {type(error).__name__}: {error}"
        self.failed += verdict != "ok"
        print(f"{self.client}: {what}: {verdict}", flush=True)

    def refused(self, what, call, kind, words):
        """Calls, and expects this kind of exception with these words."""

        def attempt():
            try:
                call()
            except kind as error:
                return str(error)
            return "no error"

        self.check(what, attempt, lambda text: words in text)


def interfaces():
    with open("/proc/net/dev") as table:
        return sorted(line.split(":")[0].strip() for line in table if ":" in line)


def avocado(socket, directory):
    checks = Checks("virttest.guest_agent")
    # What it asks of a virtual machine is a name for its logs; of the parameters, the path of the socket.
    agent = guest_agent.QemuAgent(
        MagicMock(), "agent", "virtio", {"monitor_filename": socket}, get_supported_cmds=True
    )
    check = checks.check
    check("sync", agent.sync)
    check("verify_responsive", agent.verify_responsive)
    check("guest_info", agent.guest_info, lambda info: len(info["supported_commands"]) > 40)
    check("check_has_command", lambda: agent.check_has_command("guest-file-open"), True)
    check("get_time", agent.get_time, lambda ns: abs(ns / 1e9 - time.time()) < 60)
    check("get_timezone", agent.get_timezone, lambda zone: zone["zone"] == time.strftime("%Z"))
    check("get_host_name", agent.get_host_name, lambda name: os.uname().nodename in str(name))
    check("get_osinfo", agent.get_osinfo, lambda info: info["kernel-release"] == os.uname().release)
    check("get_users", agent.get_users, lambda users: isinstance(users, list))
    check("get_vcpus", agent.get_vcpus, lambda cpus: len(cpus) >= (os.cpu_count() or 1))
    check("get_cpustats", agent.get_cpustats, lambda cpus: cpus[0]["type"] == "linux")
    check("get_load", agent.get_load, lambda load: "load1m" in load)
    check("get_fsinfo", agent.get_fsinfo, lambda found: isinstance(found, list))
    check("get_disks", agent.get_disks, lambda disks: isinstance(disks, list))
    check("get_diskstats", agent.get_diskstats, lambda disks: isinstance(disks, list))
    check(
        "get_network_interface",
        agent.get_network_interface,
        lambda found: found[0]["name"] == "lo"
        and sorted({item["name"] for item in found if ":" not in item["name"]}) == interfaces(),
    )
    check("get_network_route", agent.get_network_route, lambda routes: isinstance(routes, list))
    check("get_memory_block_info", agent.get_memory_block_info, lambda info: info["size"] > 0)
    check("get_memory_blocks", agent.get_memory_blocks, lambda blocks: isinstance(blocks, list))
    check("get_fsfreeze_status", agent.get_fsfreeze_status, "thawed")
    check("verify_fsfreeze_status", lambda: agent.verify_fsfreeze_status("thawed"))
    path = os.path.join(directory, "file")
    handle = agent.guest_file_open(path, mode="w+")
    check("guest_file_open", lambda: os.path.exists(path), True)
    check("guest_file_write", lambda: agent.guest_file_write(handle, "hello agent"))
    check("guest_file_flush", lambda: agent.guest_file_flush(handle))
    check("guest_file_flush, seen in the file", lambda: open(path).read(), "hello agent")
    check("guest_file_seek", lambda: agent.guest_file_seek(handle, 6, 0), lambda at: at["position"] == 6)
    check("guest_file_read", lambda: agent.guest_file_read(handle), lambda read: read["count"] == 5)
    check("guest_file_close", lambda: agent.guest_file_close(handle))
    checks.refused(
        "guest_file_read of a closed handle",
        lambda: agent.guest_file_read(handle),
        guest_agent.VAgentCmdError,
        f"handle '{handle}' has not been found",
    )
    started = agent.guest_exec("/bin/echo", arg=["hello"], capture_output=True)

    def ended():
        deadline = time.monotonic() + 30
        while True:
            status = agent.guest_exec_status(started["pid"])
            if status["exited"] or time.monotonic() > deadline:
                return status
            time.sleep(0.02)

    check("guest_exec, guest_exec_status", ended, lambda status: status["exitcode"] == 0)
    checks.refused(
        "ssh_get_authorized_keys of nobody",
        lambda: agent.ssh_get_authorized_keys("no-such-user"),
        guest_agent.VAgentCmdError,
        "failed to lookup user 'no-such-user'",
    )
    checks.refused(
        "a command that does not exist",
        lambda: agent.cmd("guest-nope"),
        guest_agent.VAgentCmdError,
        "CommandNotFound",
    )
    agent.close()
    return checks


async def qmp(socket):
    checks = Checks("qemu.qmp")
    client = QMPClient("agent")
    # An agent does not greet, and negotiates nothing.
    client.await_greeting = False
    client.negotiate = False
    await client.connect(socket)
    answers = {}
    for command, arguments in [
        ("guest-sync", {"id": 2**62 + 1}),
        ("guest-ping", None),
        ("guest-info", None),
        ("guest-get-osinfo", None),
        ("guest-network-get-interfaces", None),
        ("guest-fsfreeze-status", None),
        ("guest-nope", None),
        ("guest-file-open", {"path": 5}),
    ]:
        try:
            answers[command] = await client.execute(command, arguments)
        except ExecuteError as error:
            answers[command] = (error.error_class, str(error))
    many = await asyncio.gather(*(client.execute("guest-sync", {"id": number}) for number in range(100)))
    await client.disconnect()
    check = checks.check
    check("guest-sync", lambda: answers["guest-sync"], 2**62 + 1)
    check("guest-ping", lambda: answers["guest-ping"], {})
    check("guest-info", lambda: answers["guest-info"]["version"], lambda version: version != "")
    check("guest-get-osinfo", lambda: answers["guest-get-osinfo"]["machine"], os.uname().machine)
    check("guest-network-get-interfaces", lambda: answers["guest-network-get-interfaces"][0]["name"], "lo")
    check("guest-fsfreeze-status", lambda: answers["guest-fsfreeze-status"], "thawed")
    not_found = ("CommandNotFound", "The command guest-nope has not been found")
    check("a command that does not exist", lambda: answers["guest-nope"], not_found)
    wrong_type = ("GenericError", "Invalid parameter type for 'path', expected: string")
    check("an argument of another type", lambda: answers["guest-file-open"], wrong_type)
    check("100 requests at once, told apart by their ids", lambda: many, list(range(100)))
    return checks


def main():
    socket, directory = sys.argv[1:]
    done = [avocado(socket, directory), asyncio.run(qmp(socket))]
    failed = sum(checks.failed for checks in done)
    print(f"{sum(checks.tried for checks in done) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
