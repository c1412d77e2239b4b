//! Commands that are newer than the qemu-ga here: their answers against the kernel's own files.

use std::net::Ipv4Addr;

use guestd_vm::{AgentConn, Vm};
use serde_json::{Value, json};

/// `guest-get-load` against `/proc/loadavg`, read before and after it.
pub fn load(guestd: &mut AgentConn, vm: &mut Vm) {
    let mut kernels = || -> Vec<f64> {
        let text = vm.run("cat /proc/loadavg").unwrap();
        text.split(' ').take(3).map(|number| number.parse().unwrap()).collect()
    };
    let before = kernels();
    let load = guestd.call("guest-get-load", json!({})).unwrap();
    let after = kernels();
    for (index, name) in ["load1m", "load5m", "load15m"].iter().enumerate() {
        let ours = load[name].as_f64().unwrap();
        // The kernel works it out anew every five seconds.
        let is_kernels = [before[index], after[index]].iter().any(|one| (one - ours).abs() < 0.006);
        assert!(is_kernels, "{name}: {ours}, the kernel says {before:?} and {after:?}");
    }
}

/// `guest-network-get-route` against `/proc/net/route` and `/proc/net/ipv6_route`.
pub fn routes(guestd: &mut AgentConn, vm: &mut Vm) {
    let routes = guestd.call("guest-network-get-route", json!({})).unwrap();
    let of_version = |version: u64| routes.as_array().unwrap().iter().filter(move |one| one["version"] == version);

    let columns = |route: &Value| {
        let names = ["iface", "destination", "gateway", "mask", "metric"];
        names.map(|name| route[name].as_str().map_or_else(|| route[name].to_string(), str::to_owned))
    };
    let ours: Vec<_> = of_version(4).map(columns).collect();
    let kernels: Vec<_> = vm.run("tail -n +2 /proc/net/route").unwrap().lines().map(v4).collect();
    assert_eq!(ours, kernels);
    assert!(kernels.len() >= 4, "{kernels:?}");

    let columns = |route: &Value| [route["iface"].as_str().unwrap().to_owned(), route["metric"].to_string()];
    let ours: Vec<_> = of_version(6).map(columns).collect();
    let kernels: Vec<_> = vm.run("cat /proc/net/ipv6_route").unwrap().lines().map(v6).collect();
    assert_eq!(ours, kernels);
    let default = of_version(6).find(|route| route["nexthop"] == "2001:db8::1").unwrap();
    assert_eq!((&default["destination"], &default["desprefixlen"]), (&json!("::"), &json!("0")));
}

/// A line of `/proc/net/route`: the addresses are numbers in the processor's order.
fn v4(line: &str) -> [String; 5] {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |column: usize| {
        let number = u32::from_str_radix(words[column], 16).unwrap();
        Ipv4Addr::from(number.to_le_bytes()).to_string()
    };
    [words[0].to_owned(), address(1), address(2), address(7), words[6].to_owned()]
}

/// A line of `/proc/net/ipv6_route`.
fn v6(line: &str) -> [String; 2] {
    let words: Vec<&str> = line.split_whitespace().collect();
    [words[9].to_owned(), u32::from_str_radix(words[5], 16).unwrap().to_string()]
}
