//! Processors and memory of a real machine: switched by commands, added by QEMU, brought online by themselves.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use guestd_vm::{Agent, AgentConn, Vm, VmBuilder, boot_or_skip, despite_stalls, note};
use serde_json::{Value, json};

const CONFIG: &str = "/etc/guestd/guestd.toml";
const CPUS: &str = "/sys/devices/system/cpu";
const BLOCKS: &str = "/sys/devices/system/memory";
/// Time for the kernel to take up what QEMU has added or is to take away.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn processors_and_memory_offline_and_online() {
    despite_stalls(switch_all);
}

fn switch_all() {
    let builder = VmBuilder::new().cpus(2).qemu_args(["-smp", "2,maxcpus=5", "-m", "384,slots=2,maxmem=1G"]);
    let Some(mut vm) = boot_or_skip(builder) else {
        return;
    };
    // With this policy (the kernel's admin-guide/mm/memory-hotplug.rst) added memory holds only what can be moved, so
    // that taking it offline cannot fail by chance.
    vm.run("echo auto-movable >/sys/module/memory_hotplug/parameters/online_policy").unwrap();
    processors_by_command(&mut vm);
    an_added_processor_stays_offline(&mut vm);
    memory_by_command(&mut vm);
    if vm.which_agent() == Some(Agent::QemuGa) {
        note("hardware: qemu-ga brings nothing online by itself");
        return;
    }
    only_memory_goes_online_by_itself(&mut vm);
    a_processor_goes_online_by_itself(&mut vm);
}

fn processors_by_command(vm: &mut Vm) {
    let mut agent = vm.agent().unwrap();
    let first = json!({"logical-id": 0, "online": true, "can-offline": false});
    assert_eq!(vcpus(&mut agent), [first.clone(), vcpu(1, true)]);

    assert_eq!(set_vcpus(&mut agent, json!([{"logical-id": 1, "online": false}])).unwrap(), 1);
    assert_eq!(online(vm), "0");
    assert_eq!(vm.run("grep -c ^processor /proc/cpuinfo").unwrap(), "1");
    assert_eq!(vcpus(&mut agent), [first.clone(), vcpu(1, false)]);
    let stats = agent.call("guest-get-cpustats", json!({})).unwrap();
    assert_eq!(stats.as_array().unwrap().len(), 1, "{stats}");

    // They are done in order, up to the first that fails; that the very first fails is an error.
    let list = json!([{"logical-id": 1, "online": true}, {"logical-id": 0, "online": false}]);
    assert_eq!(set_vcpus(&mut agent, list).unwrap(), 1);
    assert_eq!(online(vm), "0-1");
    assert_eq!(vcpus(&mut agent), [first, vcpu(1, true)]);
    let words = "logical processor #0 can't be offlined";
    assert_eq!(set_vcpus(&mut agent, json!([{"logical-id": 0, "online": false}])).unwrap_err(), words);
    let error = set_vcpus(&mut agent, json!([{"logical-id": 2, "online": true}])).unwrap_err();
    assert!(error.ends_with("No such file or directory"), "{error}");
    assert_eq!(online(vm), "0-1");
}

fn an_added_processor_stays_offline(vm: &mut Vm) {
    assert_eq!(add_cpu(vm), 2);
    let mut agent = vm.agent().unwrap();
    assert_eq!(vcpus(&mut agent)[2..], [vcpu(2, false)]);
    assert_eq!(set_vcpus(&mut agent, json!([{"logical-id": 2, "online": true}])).unwrap(), 1);
    assert_eq!(online(vm), "0-2");
    assert_eq!(set_vcpus(&mut agent, json!([{"logical-id": 2, "online": false}])).unwrap(), 1);
    assert_eq!(online(vm), "0-1");
}

fn memory_by_command(vm: &mut Vm) {
    let mut agent = vm.agent().unwrap();
    let size = agent.call("guest-get-memory-block-info", json!({})).unwrap()["size"].as_u64().unwrap();
    let total = mem_total(vm);
    let number = add_memory(vm, "first", size);
    let block = |online: bool| json!({"phys-index": number, "online": online, "can-offline": true});
    assert_eq!(blocks(&mut agent).last(), Some(&block(false)));
    assert_eq!(state(vm, number), "offline");
    assert_eq!(mem_total(vm), total);

    let success = json!({"phys-index": number, "response": "success"});
    assert_eq!(set_block(&mut agent, number, true), success);
    assert_eq!(state(vm, number), "online");
    assert_eq!(blocks(&mut agent).last(), Some(&block(true)));
    // What the kernel keeps for itself is less than an eighth.
    assert!(mem_total(vm) - total > size - size / 8, "{} of {total} and {size}", mem_total(vm));
    assert_eq!(vm.run(&format!("cat {BLOCKS}/memory{number}/valid_zones")).unwrap(), "Movable");

    assert_eq!(set_block(&mut agent, number, false), success);
    assert_eq!(state(vm, number), "offline");
    assert_eq!(blocks(&mut agent).last(), Some(&block(false)));
    assert_eq!(mem_total(vm), total);

    // The kernel itself is in the first block, and there is no such number as the last.
    let attempt = vm.sh(&format!("echo offline >{BLOCKS}/memory0/state")).unwrap();
    assert_ne!(attempt.status, 0, "the kernel has given up its own memory");
    let answer = set_block(&mut agent, 0, false);
    assert_eq!(answer["response"], "operation-failed");
    let code = answer["error-code"].as_i64().unwrap();
    let named = [(16, "Device or resource busy"), (22, "Invalid argument")].map(|(number, text)| (text, number));
    assert!(
        named.iter().any(|(text, number)| *number == code && attempt.stdout.contains(text)),
        "{answer}: {attempt:?}"
    );
    assert_eq!(state(vm, 0), "online");
    assert_eq!(set_block(&mut agent, 4_000_000, false)["response"], "not-found");
}

/// The kernel announces devices in the order in which they come: once the memory that came last is online, the
/// processor before it has been looked at.
fn only_memory_goes_online_by_itself(vm: &mut Vm) {
    let mut agent = vm.agent().unwrap();
    let size = agent.call("guest-get-memory-block-info", json!({})).unwrap()["size"].as_u64().unwrap();
    drop(agent);
    configure(vm, "memory");
    vm.kill_agent("TERM").unwrap();
    vm.wait_agent_exit(LIMIT).unwrap();
    vm.start_agent().unwrap();
    watcher(vm, None);
    assert_eq!(add_cpu(vm), 3);
    let number = add_memory(vm, "second", size);
    until(vm, "the memory is online", |vm| state(vm, number) == "online");
    assert_eq!(online(vm), "0-1");
    let mut agent = vm.agent().unwrap();
    assert_eq!(vcpus(&mut agent)[2..], [vcpu(2, false), vcpu(3, false)]);
    // Nor does the block that was there before, and that somebody has taken offline.
    let states: Vec<Value> = blocks(&mut agent).iter().rev().take(2).map(|block| block["online"].clone()).collect();
    assert_eq!(states, [true, false]);
}

/// A running daemon reads its configuration again.
fn a_processor_goes_online_by_itself(vm: &mut Vm) {
    let old = watcher(vm, None);
    configure(vm, "cpu");
    vm.kill_agent("HUP").unwrap();
    watcher(vm, Some(&old));
    assert_eq!(add_cpu(vm), 4);
    until(vm, "the processor is online", |vm| online(vm) == "0-1,4");
    assert_eq!(vcpus(&mut vm.agent().unwrap())[2..], [vcpu(2, false), vcpu(3, false), vcpu(4, true)]);
    let ran = vm.run("taskset -c 4 grep Cpus_allowed_list /proc/self/status").unwrap();
    assert!(ran.ends_with("\t4"), "{ran}");
}

fn vcpu(id: u64, online: bool) -> Value {
    json!({"logical-id": id, "online": online, "can-offline": true})
}

/// The agent's list, in the order of the numbers: qemu-ga has another.
fn vcpus(agent: &mut AgentConn) -> Vec<Value> {
    sorted(agent.call("guest-get-vcpus", json!({})).unwrap(), "logical-id")
}

fn blocks(agent: &mut AgentConn) -> Vec<Value> {
    sorted(agent.call("guest-get-memory-blocks", json!({})).unwrap(), "phys-index")
}

fn sorted(list: Value, key: &str) -> Vec<Value> {
    let mut list = list.as_array().unwrap().clone();
    list.sort_by_key(|entry| entry[key].as_u64());
    list
}

fn set_vcpus(agent: &mut AgentConn, vcpus: Value) -> Result<Value, String> {
    agent.set_timeout(LIMIT);
    agent.call("guest-set-vcpus", json!({"vcpus": vcpus})).map_err(|error| match error.refused() {
        Some((_, words)) => words.to_owned(),
        None => panic!("{error}"),
    })
}

fn set_block(agent: &mut AgentConn, number: u64, online: bool) -> Value {
    agent.set_timeout(LIMIT);
    let list = json!([{"phys-index": number, "online": online}]);
    let answer = agent.call("guest-set-memory-blocks", json!({"mem-blks": list})).unwrap();
    assert_eq!(answer.as_array().unwrap().len(), 1, "{answer}");
    answer[0].clone()
}

/// The kernel's own list of processors that are online, such as `0-1,3`.
fn online(vm: &mut Vm) -> String {
    vm.run(&format!("cat {CPUS}/online")).unwrap()
}

fn present(vm: &mut Vm) -> BTreeSet<u64> {
    let names = vm.run(&format!("cd {CPUS} && ls -d cpu[0-9]*")).unwrap();
    names.lines().map(|name| name.trim_start_matches("cpu").parse().unwrap()).collect()
}

fn state(vm: &mut Vm, block: u64) -> String {
    vm.run(&format!("cat {BLOCKS}/memory{block}/state")).unwrap()
}

fn block_numbers(vm: &mut Vm) -> BTreeSet<u64> {
    let names = vm.run(&format!("cd {BLOCKS} && ls -d memory[0-9]*")).unwrap();
    names.lines().map(|name| name.trim_start_matches("memory").parse().unwrap()).collect()
}

/// The memory that the guest can use, in bytes.
fn mem_total(vm: &mut Vm) -> u64 {
    let kibibytes = vm.run("awk '/^MemTotal:/ { print $2 }' /proc/meminfo").unwrap();
    kibibytes.parse::<u64>().unwrap() * 1024
}

/// Puts a processor into the first free place, waits until the kernel has it, and gives its number. In another order
/// an emulated processor takes seconds to start.
fn add_cpu(vm: &mut Vm) -> u64 {
    let before = present(vm);
    let places = vm.qmp().unwrap().execute("query-hotpluggable-cpus", json!({})).unwrap();
    let free = places.as_array().unwrap().iter().filter(|place| place.get("qom-path").is_none());
    let place = |place: &&Value| ["socket-id", "core-id"].map(|id| place["props"][id].as_u64());
    let first = free.min_by_key(place).unwrap();
    let mut device = first["props"].clone();
    device["driver"] = first["type"].clone();
    vm.qmp().unwrap().execute("device_add", device).unwrap();
    until(vm, "the processor is there", |vm| present(vm).len() > before.len());
    *present(vm).difference(&before).next().unwrap()
}

/// Puts in a module of one memory block, and waits until the kernel has it.
fn add_memory(vm: &mut Vm, name: &str, size: u64) -> u64 {
    let before = block_numbers(vm);
    let backend = format!("{name}-ram");
    let object = json!({"qom-type": "memory-backend-ram", "id": backend, "size": size});
    vm.qmp().unwrap().execute("object-add", object).unwrap();
    let device = json!({"driver": "pc-dimm", "id": format!("{name}-dimm"), "memdev": backend});
    vm.qmp().unwrap().execute("device_add", device).unwrap();
    until(vm, "the memory is there", |vm| block_numbers(vm).len() > before.len());
    *block_numbers(vm).difference(&before).next().unwrap()
}

fn configure(vm: &mut Vm, kind: &str) {
    let text = format!("[plugins.hardware]\\nauto-online = [\"{kind}\"]\\n");
    vm.run(&format!("mkdir -p /etc/guestd && printf '{text}' >{CONFIG}")).unwrap();
}

/// The agent's thread that waits for announcements, once there is another than `old`. It starts when the devices that
/// are there already have been listed.
fn watcher(vm: &mut Vm, old: Option<&str>) -> String {
    let mut found = String::new();
    until(vm, "the agent watches", |vm| {
        let pid = vm.agent_pid().unwrap();
        found = vm.sh(&format!("cd /proc/{pid}/task && grep -lx auto-online */comm")).unwrap().stdout;
        found.lines().count() == 1 && Some(found.as_str()) != old
    });
    found
}

fn until(vm: &mut Vm, what: &str, mut wanted: impl FnMut(&mut Vm) -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !wanted(vm) {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
