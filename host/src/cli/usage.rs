//! `--help`.

use std::process::ExitCode;

const OPTIONS: &str = "\
  -c, --config FILE           read FILE: guestd's own if it ends in .toml, else qemu-ga's
  -m, --method METHOD         virtio-serial (default), isa-serial, unix-listen or vsock-listen
  -p, --path PATH             the device, the socket's path, or cid:port
  -l, --logfile FILE          log to FILE instead of standard error
  -f, --pidfile FILE          where a daemon in the background writes its process number
  -F, --fsfreeze-hook[=FILE]  run FILE (default: /etc/qemu/fsfreeze-hook) around a freeze
  -t, --statedir DIR          where state is kept that outlives the daemon
  -v, --verbose               log every request
  -V, --version               show the version
  -d, --daemonize             go into the background
  -b, --block-rpcs LIST       answer no command in LIST, separated by commas; \"help\" lists them all
  -a, --allow-rpcs LIST       answer only commands in LIST; \"help\" lists them all
  -D, --dump-conf             show the configuration as qemu-ga.conf would have it
  -r, --retry-path            accepted for qemu-ga's sake: devices are always waited for
  -h, --help                  show this
";

const SUBCOMMANDS: &str = "
Subcommands:
  plugins [--json]            the command sets, and the files that are refused
  commands [--json]           the commands, and whether each answers
  explain COMMAND             why a command answers or does not
  check                       check the configuration and open every plugin
  call [--socket ADDRESS] [--timeout SECONDS] COMMAND [JSON]
                              send a request to an agent; ADDRESS is a path or vsock:CID:PORT

Without a subcommand guestd answers the QEMU guest agent protocol. Its configuration is /etc/guestd/guestd.toml and
/etc/guestd/guestd.d/*.toml.
";

/// Prints the help for the name that the program was called by.
pub fn print(as_qemu_ga: bool) -> Result<ExitCode, String> {
    if as_qemu_ga {
        print!("Usage: qemu-ga [OPTIONS]\n\nguestd, called as the QEMU guest agent.\n\nOptions:\n{OPTIONS}");
    } else {
        print!(
            "Usage: guestd [OPTIONS] [SUBCOMMAND]\n\nA guest agent for virtual machines.\n\nOptions:\n{OPTIONS}{SUBCOMMANDS}"
        );
    }
    Ok(ExitCode::SUCCESS)
}
