//! How long a ping takes while others do their worst on another channel.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use guestd_daemon_tests::Daemon;
use serde_json::json;

use crate::connection::Connection;
use crate::loads::{LOADS, Load};
use crate::process::{self, Sample};

/// The time between two pings.
const PAUSE: Duration = Duration::from_millis(1);

/// The round trips of pings, sorted.
struct Trips(Vec<Duration>);

impl Trips {
    fn part(&self, per_mille: usize) -> String {
        let place = (self.0.len() * per_mille / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(place).map_or("-".to_owned(), |trip| format!("{:.2}", trip.as_secs_f64() * 1e3))
    }
}

/// A thread that sends back what it gets: what the machine itself takes under the load.
fn echo() -> UnixStream {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let mut byte = [0];
        while theirs.read_exact(&mut byte).is_ok() && theirs.write_all(&byte).is_ok() {}
    });
    ours
}

/// Prints a table with a line for each load. Returns whether each was borne.
pub fn run(length: Duration, only: Option<&str>) -> bool {
    println!(
        "| load on another channel | pings | p50, ms | p99, ms | longest, ms | echo's p99, ms | peak, MiB | kept after 1 s, KiB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for load in LOADS.iter().filter(|load| only.is_none_or(|only| load.name.contains(only))) {
        measure(load, length);
    }
    true
}

fn measure(load: &Load, length: Duration) {
    let daemon = Daemon::new().quiet().config("[[channel]]\nmethod = \"unix-listen\"\npath = \"DIR/other\"").start();
    let (socket, pid) = (daemon.path("s"), daemon.pid());
    let mut client = Connection::new(&daemon.path("other"));
    for command in ["guest-ping", "guest-get-osinfo", "guest-file-open"] {
        client.ask(command, &json!({})).unwrap();
    }
    let mut echo = echo();
    let idle = Sample::of_quiet(pid, Duration::from_secs(2));
    process::forget_peak(pid);
    let stop = AtomicBool::new(false);
    let (mut pings, mut echoes) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for number in 0..load.threads {
            let (socket, stop) = (&socket, &stop);
            scope.spawn(move || {
                // A connection that the daemon closes is another one's turn.
                while !stop.load(Ordering::Relaxed) {
                    let _ = (load.run)(socket, number, stop);
                }
            });
        }
        let until = Instant::now() + length;
        while Instant::now() < until {
            let since = Instant::now();
            client.ask("guest-ping", &json!({})).unwrap();
            pings.push(since.elapsed());
            let since = Instant::now();
            echo.write_all(b"x").unwrap();
            echo.read_exact(&mut [0]).unwrap();
            echoes.push(since.elapsed());
            thread::sleep(PAUSE);
        }
        stop.store(true, Ordering::Relaxed);
    });
    thread::sleep(Duration::from_secs(1));
    let kept = Sample::of(pid).private_dirty.saturating_sub(idle.private_dirty);
    pings.sort();
    echoes.sort();
    let (pings, echoes) = (Trips(pings), Trips(echoes));
    println!(
        "| {} | {} | {} | {} | {} | {} | {} | {kept} |",
        load.name,
        pings.0.len(),
        pings.part(500),
        pings.part(990),
        pings.part(1000),
        echoes.part(990),
        process::peak(pid) / 1024,
    );
}
