//! The set `network` in the sdk's test kit: on this machine, and in a network of its own where this is root's.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::{Value, json};

/// Set in the processes that this program starts in a network of their own.
const INSIDE: &str = "GUESTD_TEST_NETWORK";

fn kit_with(config: Value) -> TestKit {
    let settings = Settings { config, ..Settings::default() };
    TestKit::start_with(guestd_network::plugin_module(), settings).unwrap()
}

fn interfaces(kit: &TestKit) -> Vec<Value> {
    let answer = kit.call("guest-network-get-interfaces", json!({})).unwrap();
    answer.as_array().unwrap().clone()
}

fn names(interfaces: &[Value]) -> Vec<&str> {
    interfaces.iter().map(|interface| interface["name"].as_str().unwrap()).collect()
}

fn addresses(interface: &Value) -> Vec<String> {
    let list = interface["ip-addresses"].as_array().map_or(&[][..], Vec::as_slice);
    let text = |address: &Value| {
        let colon = address["ip-address"].as_str().unwrap().contains(':');
        assert_eq!(address["ip-address-type"], if colon { "ipv6" } else { "ipv4" });
        format!("{}/{}", address["ip-address"].as_str().unwrap(), address["prefix"])
    };
    list.iter().map(text).collect()
}

/// Runs the test of this name again in a network of its own, where `inside` does its work.
fn in_a_network_of_its_own(test: &str, inside: fn()) {
    if env::var_os(INSIDE).is_some() {
        return inside();
    }
    let can = |program: &str, arguments: &[&str]| {
        let quiet = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    };
    if !can("unshare", &["-n", "true"]) || !can("ip", &["-V"]) {
        guestd_sdk::testkit::skip("this needs root, unshare(1) and ip(8)");
        return;
    }
    let this = env::current_exe().unwrap();
    let output =
        Command::new("unshare").arg("-n").arg(this).args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    eprint!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"));
}

/// Does something to the network. Returns whether the kernel has it.
fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    if !output.status.success() {
        eprintln!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    output.status.success()
}

/// The counters that `/proc/net/dev` shows of an interface.
fn proc_counters(name: &str) -> Value {
    let text = fs::read_to_string("/proc/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':')).unwrap();
    let n: Vec<u64> = line.split_ascii_whitespace().map(|word| word.parse().unwrap()).collect();
    json!({"rx-bytes": n[0], "rx-packets": n[1], "rx-errs": n[2], "rx-dropped": n[3],
        "tx-bytes": n[8], "tx-packets": n[9], "tx-errs": n[10], "tx-dropped": n[11]})
}

#[test]
fn the_interfaces_of_this_machine_are_listed_once_each() {
    let kit = kit_with(json!({}));
    let found = interfaces(&kit);
    let mut listed: Vec<_> = names(&found).into_iter().filter(|name| !name.contains(':')).map(str::to_owned).collect();
    listed.sort();
    let text = fs::read_to_string("/proc/net/dev").unwrap();
    let mut shown: Vec<_> =
        text.lines().skip(2).map(|line| line.split(':').next().unwrap().trim().to_owned()).collect();
    shown.sort();
    assert_eq!(listed, shown);
    for interface in &found {
        let name = interface["name"].as_str().unwrap();
        if let Ok(address) = fs::read_to_string(format!("/sys/class/net/{name}/address"))
            && address.trim().len() == 17
        {
            assert_eq!(interface["hardware-address"], address.trim());
        }
    }
    // The same socket is used again.
    assert_eq!(names(&interfaces(&kit)), names(&found));
}

#[test]
fn the_routes_of_this_machine_are_counted() {
    let lines = |path: &str| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    let shown = || [lines("/proc/net/route") - 1, lines("/proc/net/ipv6_route")];
    let kit = kit_with(json!({}));
    for _ in 0..10 {
        let before = shown();
        let routes = kit.call("guest-network-get-route", json!({})).unwrap();
        if before == shown() {
            let routes = routes.as_array().unwrap();
            assert_eq!([4, 6].map(|version| routes.iter().filter(|route| route["version"] == version).count()), before);
            return;
        }
    }
    panic!("the routes never stood still");
}

#[test]
fn no_command_takes_arguments() {
    let kit = kit_with(json!({}));
    for command in ["guest-network-get-interfaces", "guest-network-get-route"] {
        assert_eq!(kit.call(command, json!({"x": 1})).unwrap_err().desc(), "Parameter 'x' is unexpected");
    }
}

#[test]
fn options_that_make_no_sense_are_errors() {
    for (config, expected) in [
        (json!({"excludes": []}), "configuration: unknown field `excludes`"),
        (json!({"exclude": "veth*"}), "configuration: invalid type: string"),
        (json!({"exclude": ["veth*", "a[b"]}), "configuration: exclude \"a[b\": invalid range pattern"),
    ] {
        let settings = Settings { config, ..Settings::default() };
        let error = TestKit::start_with(guestd_network::plugin_module(), settings).map(drop).unwrap_err();
        assert!(error.desc().starts_with(expected), "{}", error.desc());
    }
}

#[test]
fn interfaces_and_addresses() {
    in_a_network_of_its_own("interfaces_and_addresses", || {
        assert!(ip("link set lo up"));
        if !ip("link add va address 02:00:00:00:00:0a type veth peer name vb address 02:00:00:00:00:0b") {
            guestd_sdk::testkit::not_here("this kernel has no veth");
            return;
        }
        for change in [
            "link set va up",
            "link set vb up",
            "addr add 10.1.0.1/24 dev va",
            "addr add 10.1.0.2/24 dev va label va:1",
            "addr add 10.2.0.2 peer 10.2.0.9/32 dev va",
        ] {
            assert!(ip(change));
        }
        let has_ipv6 = ip("addr add fd11::5/64 dev va nodad") && ip("addr add fd11::6 peer fd11::7/128 dev va nodad");
        let kit = kit_with(json!({"exclude": ["tun*"]}));
        let found = interfaces(&kit);
        let item = |name: &str| found.iter().find(|interface| interface["name"] == name).unwrap();
        assert!(names(&found).ends_with(&["va:1"]));
        let mut expected = vec!["10.1.0.1/24", "10.2.0.2/32"];
        if has_ipv6 {
            expected.extend(["fd11::6/128", "fd11::5/64"]);
        }
        let va = addresses(item("va"));
        let global: Vec<_> = va.iter().filter(|address| !address.starts_with("fe80::")).collect();
        assert_eq!(global, expected);
        assert_eq!(item("va")["hardware-address"], "02:00:00:00:00:0a");
        let label = json!({"name": "va:1", "hardware-address": "02:00:00:00:00:0a",
            "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "10.1.0.2", "prefix": 24}]});
        assert_eq!(*item("va:1"), label);

        // An interface without hardware address, and one without addresses.
        if ip("tuntap add tun9 mode tun") {
            let found = interfaces(&kit_with(json!({})));
            let tun = found.iter().find(|interface| interface["name"] == "tun9").unwrap();
            assert_eq!(*tun, json!({"name": "tun9", "hardware-address": "00:00:00:00:00:00"}));
            assert!(!names(&interfaces(&kit)).contains(&"tun9"));
        }

        kit.reload(json!({"exclude": ["v?", "va:*"]})).unwrap();
        let found = interfaces(&kit);
        assert!(!names(&found).iter().any(|name| name.starts_with('v')), "{found:?}");
        kit.reload(json!({"exclude": ["["]})).unwrap_err();
        assert_eq!(names(&interfaces(&kit)), names(&found));
    });
}

#[test]
fn the_order_is_the_kernels_with_loopback_first_and_labels_last() {
    in_a_network_of_its_own("the_order_is_the_kernels_with_loopback_first_and_labels_last", || {
        if !ip("link add z0 type veth peer name a0") || !ip("link add m0 type veth peer name b0") {
            guestd_sdk::testkit::not_here("this kernel has no veth");
            return;
        }
        for change in [
            "addr add 10.1.0.2/24 dev m0 label m0:1",
            "addr add 10.0.0.1/24 dev m0",
            "addr add 127.1.0.1/8 dev lo label lo:1",
        ] {
            assert!(ip(change));
        }
        for name in ["lo", "z0", "a0", "m0", "b0"] {
            assert!(ip(&format!("link set {name} up")));
        }
        // What was the first for a while, since tools should find it there. It made 127.0.0.1 of the index [1].
        assert!(ip("route add default via 10.0.0.254 dev m0"));
        let output = Command::new("ip").args(["-o", "link", "show"]).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let kernels: Vec<&str> =
            shown.lines().map(|line| line.split(": ").nth(1).unwrap().split('@').next().unwrap()).collect();
        let found = interfaces(&kit_with(json!({})));
        let found = names(&found);
        assert_eq!(found[0], "lo");
        assert_eq!(found[..kernels.len()], kernels);
        assert_eq!(found[kernels.len()..], ["lo:1", "m0:1"]);
    });
}

#[test]
fn an_interface_whose_name_is_not_utf8_keeps_its_routes_and_statistics() {
    in_a_network_of_its_own("an_interface_whose_name_is_not_utf8_keeps_its_routes_and_statistics", || {
        let name = OsStr::from_bytes(b"n\xFF");
        let of = |before: &[&str], after: &[&str]| {
            let status = Command::new("ip").args(before).arg(name).args(after).status().unwrap();
            status.success()
        };
        if !of(&["link", "add"], &["type", "veth", "peer", "name", "peer"]) {
            guestd_sdk::testkit::not_here("this kernel has no veth");
            return;
        }
        assert!(of(&["addr", "add", "10.1.0.1/24", "dev"], &[]) && ip("link set peer up"));
        assert!(of(&["link", "set"], &["up"]));
        assert!(of(&["route", "add", "10.9.0.0/16", "dev"], &[]));
        let kit = kit_with(json!({}));
        let found = interfaces(&kit);
        let item = found.iter().find(|interface| interface["name"] == "n\u{FFFD}").unwrap();
        assert!(addresses(item).contains(&"10.1.0.1/24".to_owned()));
        assert!(item["statistics"]["tx-bytes"].is_u64(), "{item}");
        let routes = kit.call("guest-network-get-route", json!({})).unwrap();
        let route = |destination: &str| {
            routes.as_array().unwrap().iter().find(|route| route["destination"] == destination).unwrap().clone()
        };
        assert_eq!(route("10.9.0.0")["iface"], "n\u{FFFD}");
    });
}

#[test]
fn every_change_is_seen_at_the_next_call() {
    in_a_network_of_its_own("every_change_is_seen_at_the_next_call", || {
        let kit = kit_with(json!({}));
        assert!(!names(&interfaces(&kit)).contains(&"va"));
        if !ip("link add va type veth peer name vb") {
            guestd_sdk::testkit::not_here("this kernel has no veth");
            return;
        }
        let see = |name: &str| interfaces(&kit).into_iter().find(|interface| interface["name"] == name);
        let change = |what: &str| assert!(ip(what));
        assert!(see("va").is_some());
        change("link set va address 02:00:00:00:00:0c");
        assert_eq!(see("va").unwrap()["hardware-address"], "02:00:00:00:00:0c");
        change("addr add 10.1.0.1/24 dev va");
        assert_eq!(addresses(&see("va").unwrap()), ["10.1.0.1/24"]);
        change("addr add 10.1.0.2/16 dev va label va:x");
        assert_eq!(addresses(&see("va:x").unwrap()), ["10.1.0.2/16"]);
        change("addr del 10.1.0.2/16 dev va");
        assert_eq!(see("va:x"), None);
        change("link set va name other");
        assert_eq!((see("va"), addresses(&see("other").unwrap())), (None, vec!["10.1.0.1/24".to_owned()]));
        if ip("addr add fd11::5/64 dev other nodad") {
            assert_eq!(addresses(&see("other").unwrap()), ["10.1.0.1/24", "fd11::5/64"]);
            change("addr del fd11::5/64 dev other");
            assert_eq!(addresses(&see("other").unwrap()), ["10.1.0.1/24"]);
        }
        // More changes than there is room for.
        for n in 0..100 {
            change(&format!("addr add 10.2.0.{n}/32 dev other"));
        }
        assert_eq!(addresses(&see("other").unwrap()).len(), 101);
        change("link del other");
        assert_eq!((see("other"), see("vb")), (None, None));
    });
}

#[test]
fn statistics_are_those_of_proc() {
    in_a_network_of_its_own("statistics_are_those_of_proc", || {
        assert!(ip("link set lo up"));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..5 {
            socket.send_to(b"hello", socket.local_addr().unwrap()).unwrap();
        }
        let found = interfaces(&kit_with(json!({})));
        let lo = found.iter().find(|interface| interface["name"] == "lo").unwrap();
        assert_eq!(lo["statistics"], proc_counters("lo"));
        assert!(lo["statistics"]["rx-packets"].as_u64().unwrap() >= 5);
    });
}

#[test]
fn routes_are_told_as_they_were_made() {
    in_a_network_of_its_own("routes_are_told_as_they_were_made", || {
        assert!(ip("link set lo up"));
        for route in ["route add 10.9.0.0/16 dev lo metric 7", "route add blackhole 10.77.0.0/16"] {
            assert!(ip(route));
        }
        let has_ipv6 = ip("-6 route add fd01::/48 dev lo metric 9");
        let routes = kit_with(json!({})).call("guest-network-get-route", json!({})).unwrap();
        let find = |destination: &str| {
            let all = routes.as_array().unwrap();
            all.iter().find(|route| route["destination"] == destination).unwrap_or_else(|| panic!("{routes}"))
        };
        let expected = json!({"iface": "lo", "destination": "10.9.0.0", "metric": 7, "gateway": "0.0.0.0",
            "mask": "255.255.0.0", "irtt": 0, "flags": 1, "refcnt": 0, "use": 0, "window": 0, "mtu": 0, "version": 4});
        assert_eq!(*find("10.9.0.0"), expected);
        assert_eq!(find("10.77.0.0")["iface"], "*");
        if has_ipv6 {
            let mut route = find("fd01::").clone();
            assert!(route.as_object_mut().unwrap().remove("refcnt").unwrap().is_u64());
            // What leads to the loopback interface is RTF_REJECT | RTF_NONEXTHOP to IPv6.
            let expected = json!({"iface": "lo", "destination": "fd01::", "metric": 9, "flags": 0x20_0200, "use": 0,
                "desprefixlen": "48", "source": "::", "srcprefixlen": "0", "nexthop": "::", "version": 6});
            assert_eq!(route, expected);
        }
    });
}

#[test]
fn a_thousand_interfaces_and_addresses_are_all_listed() {
    in_a_network_of_its_own("a_thousand_interfaces_and_addresses_are_all_listed", || {
        let batch = |lines: String| {
            let path = env::temp_dir().join(format!("guestd-network-{}", std::process::id()));
            fs::write(&path, lines).unwrap();
            let done = ip(&format!("-batch {}", path.display()));
            fs::remove_file(&path).unwrap();
            done
        };
        if !batch((0..500).map(|n| format!("link add a{n} type veth peer name b{n}\n")).collect()) {
            guestd_sdk::testkit::not_here("this kernel has no veth");
            return;
        }
        let addresses = |n: u32| format!("addr add 10.{}.{}.1/24 dev a{}\n", n / 250, n % 250, n % 500);
        assert!(batch((0..2000).map(addresses).collect()));
        let found = interfaces(&kit_with(json!({})));
        let made =
            |first: char| found.iter().filter(move |interface| interface["name"].as_str().unwrap().starts_with(first));
        assert_eq!((made('a').count(), made('b').count()), (500, 500));
        assert!(made('a').all(|interface| interface["ip-addresses"].as_array().unwrap().len() == 4));
    });
}
