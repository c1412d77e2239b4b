#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]
//! The command set `exec`: run programs in the guest and fetch what became of them.
//!
//! `guest-exec` starts a program on the worker thread that it is called on and hands it to the watcher, a single
//! thread that is started with the first program and sleeps in poll(2) over all programs: their ends, their output,
//! their input. When a program ends the watcher makes the answer of `guest-exec-status` and puts it into the table of
//! jobs, where that command only picks it up.
//!
//! * `arguments`, `exec`, `status`: the two commands,
//! * `spawn`: the program's path and environment, posix_spawn(3),
//! * `running`, `stream`, `end`, `watcher`: a program from its start to its end,
//! * `jobs`, `budget`: what is kept, and the limits of that.

mod arguments;
mod budget;
mod config;
mod end;
mod exec;
mod jobs;
mod running;
mod spawn;
mod status;
mod stream;
mod watcher;

use exec::Exec;

// Starting a program takes milliseconds, but it may have to be read from a slow disk, and hangs where that is a dead
// network file system.
guestd_sdk::plugin! {
    name: "exec",
    vendor: "guestd",
    summary: "Run programs in the guest",
    // What a program needs, nobody knows before: every capability of capabilities(7), as for qemu-ga's programs.
    capabilities: [
        CAP_AUDIT_CONTROL, CAP_AUDIT_READ, CAP_AUDIT_WRITE, CAP_BLOCK_SUSPEND, CAP_BPF, CAP_CHECKPOINT_RESTORE,
        CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_IPC_LOCK, CAP_IPC_OWNER, CAP_KILL,
        CAP_LEASE, CAP_LINUX_IMMUTABLE, CAP_MAC_ADMIN, CAP_MAC_OVERRIDE, CAP_MKNOD, CAP_NET_ADMIN, CAP_NET_BIND_SERVICE,
        CAP_NET_BROADCAST, CAP_NET_RAW, CAP_PERFMON, CAP_SETFCAP, CAP_SETGID, CAP_SETPCAP, CAP_SETUID, CAP_SYSLOG,
        CAP_SYS_ADMIN, CAP_SYS_BOOT, CAP_SYS_CHROOT, CAP_SYS_MODULE, CAP_SYS_NICE, CAP_SYS_PACCT, CAP_SYS_PTRACE,
        CAP_SYS_RAWIO, CAP_SYS_RESOURCE, CAP_SYS_TIME, CAP_SYS_TTY_CONFIG, CAP_WAKE_ALARM,
    ],
    state: Exec = Exec::start,
    reload: Exec::reload,
    commands: {
        "guest-exec" within 30 => raw exec::exec as fn(arguments::ExecArgs<'_>) -> exec::Started,
        "guest-exec-status" [INSTANT] => raw status::exec_status as fn(status::StatusArgs) -> status::ExecStatus,
    }
}
