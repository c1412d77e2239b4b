//! Passwords and ssh keys that the agent has set, proven by logging in: su(1) with PAM, and sshd(8).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use guestd_vm::{Agent, AgentConn, Output, Vm, VmBuilder, boot_or_skip, note, skip};
use qapi::qga;
use serde_json::{Value, json};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
sshd:x:100:65534::/run/sshd:/bin/false
alice:x:1000:1000::/home/alice:/bin/sh
mallory:x:1001:1001::/home/mallory:/bin/sh
";
const GROUP: &str = "root:x:0:\nshadow:x:42:\nalice:x:1000:\nmallory:x:1001:\nnogroup:x:65534:\n";
/// No password is right for any of them.
const SHADOW: &str = "root:*:20000:0:99999:7:::
sshd:!:20000::::::
alice:*:20000:0:99999:7:::
mallory:*:20000:0:99999:7:::
";

/// With `StrictModes` a key file counts only if nobody but its owner can write to it and to the directories above it.
const SSHD_CONFIG: &str = "ListenAddress 127.0.0.1
HostKey /etc/ssh/host
StrictModes yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LogLevel VERBOSE
";

const KEY_FILE: &str = "/home/alice/.ssh/authorized_keys";

/// Where Debian has PAM's modules.
const PAM_UNIX: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/security/pam_unix.so", "/lib/x86_64-linux-gnu/security/pam_unix.so"];

/// Parts of sshd that are programs of their own since OpenSSH 9.8.
const SSHD_PARTS: [&str; 2] = ["/usr/lib/openssh/sshd-session", "/usr/lib/openssh/sshd-auth"];

#[test]
fn passwords_and_keys_let_their_user_in() {
    let Some(pam_unix) = PAM_UNIX.into_iter().find(|file| std::fs::exists(file).unwrap()) else {
        skip("no pam_unix.so (libpam-modules)");
        return;
    };
    let pam = format!(
        "auth required {pam_unix} nodelay\naccount required {pam_unix}\npassword required {pam_unix} yescrypt\n\
         session required {pam_unix}\n"
    );
    let mut builder = VmBuilder::new().file("/etc/passwd", PASSWD).file("/etc/group", GROUP);
    builder = builder.file_with_mode("/etc/shadow", 0o640, SHADOW).file("/etc/login.defs", "FAIL_DELAY 0\n");
    builder = builder.file("/etc/pam.d/other", pam).file("/etc/ssh/sshd_config", SSHD_CONFIG);
    for program in ["su", "chpasswd", "sshd", "ssh", "ssh-keygen", pam_unix] {
        builder = builder.program(program);
    }
    for part in SSHD_PARTS.into_iter().filter(|file| std::fs::exists(file).unwrap()) {
        builder = builder.program(part);
    }
    let Some(mut vm) = boot_or_skip(builder) else {
        return;
    };
    for user in ["alice", "mallory"] {
        vm.run(&format!("mkdir -p /home/{user} && chown {user}:{user} /home/{user}")).unwrap();
    }
    plain_password(&mut vm);
    crypted_password(&mut vm);
    no_password(&mut vm);

    vm.run("mkdir -p /run/sshd && cd /etc/ssh && ssh-keygen -q -t ed25519 -N '' -f host").unwrap();
    vm.run("/usr/sbin/sshd -E /run/guest/sshd.log").unwrap();
    let (first, second) = (new_key(&mut vm, "first"), new_key(&mut vm, "second"));
    keys_come_and_go(&mut vm, &first, &second);
    modes_and_owners_matter(&mut vm, &first, &second);
    roots_directory_behind_a_link(&mut vm, &first, &second);
}

// --- passwords ---

/// What characters a password may have: chpasswd's separator, the shell's, and some of two bytes.
const PLAIN: &str = "pa:ss 'wörd' $HOME \\";

fn plain_password(vm: &mut Vm) {
    assert_su(vm, PLAIN, false);
    vm.client().unwrap().execute(&set_password("alice", PLAIN, false)).unwrap();
    assert_su(vm, PLAIN, true);
    assert_su(vm, "pa", false);
    let line = vm.run("grep ^alice: /etc/shadow").unwrap();
    assert!(line.starts_with("alice:$y$"), "not by PAM's own configuration: {line}");
    assert_eq!(vm.run("stat -c '%a %U' /etc/shadow").unwrap(), "640 root");
}

fn crypted_password(vm: &mut Vm) {
    let hash = vm.run("mkpasswd -m sha512 'another one'").unwrap();
    assert!(hash.starts_with("$6$"), "{hash}");
    vm.client().unwrap().execute(&set_password("alice", &hash, true)).unwrap();
    assert_su(vm, "another one", true);
    assert_su(vm, PLAIN, false);
    assert_su(vm, &hash, false);
}

/// A hash that no password has, and a user that there is not.
fn no_password(vm: &mut Vm) {
    vm.client().unwrap().execute(&set_password("alice", "*", true)).unwrap();
    assert_su(vm, "another one", false);
    assert_su(vm, "*", false);
    let before = vm.run("cat /etc/shadow").unwrap();
    vm.client().unwrap().execute(&set_password("bob", PLAIN, false)).unwrap_err();
    assert_eq!(vm.run("cat /etc/shadow").unwrap(), before);
}

fn set_password(user: &str, password: &str, crypted: bool) -> qga::guest_set_user_password {
    qga::guest_set_user_password { username: user.to_owned(), password: password.as_bytes().to_vec(), crypted }
}

/// Whether mallory, who is nobody special, becomes alice with a password. Busybox' su takes mallory's rights, by root's.
fn assert_su(vm: &mut Vm, password: &str, works: bool) {
    vm.run(&format!("printf '%s\\n' {} >/run/guest/password && chmod 644 /run/guest/password", quote(password)))
        .unwrap();
    let su = "/usr/bin/su alice -c 'id -un' </run/guest/password";
    let output = vm.sh(&format!("/bin/busybox su mallory -c {}", quote(su))).unwrap();
    assert_eq!(output.status == 0, works, "{password:?}: {output:?}");
    let words = if works { "alice" } else { "Authentication failure" };
    assert!(output.stdout.trim_end().ends_with(words), "{password:?}: {output:?}");
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

// --- keys ---

/// Makes a pair of keys `/root/NAME`, and gives the public one.
fn new_key(vm: &mut Vm, name: &str) -> String {
    vm.run(&format!("ssh-keygen -q -t ed25519 -N '' -C 'key {name}' -f /root/{name}")).unwrap();
    vm.run(&format!("cat /root/{name}.pub")).unwrap()
}

fn ssh(vm: &mut Vm, user: &str, key: &str) -> Output {
    // The key exchange that is cheapest to emulate.
    let options = "-F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR \
                   -o UserKnownHostsFile=/dev/null -o KexAlgorithms=curve25519-sha256";
    vm.sh(&format!("ssh {options} -i /root/{key} {user}@127.0.0.1 'id -un'")).unwrap()
}

fn assert_ssh(vm: &mut Vm, user: &str, key: &str, works: bool) {
    let output = ssh(vm, user, key);
    let expected = if works { (0, user) } else { (255, "Permission denied (publickey).") };
    let said = output.stdout.trim();
    let said = said.strip_prefix(&format!("{user}@127.0.0.1: ")).unwrap_or(said);
    if (output.status, said) != expected {
        let log = vm.sh("cat /run/guest/sshd.log").unwrap().stdout;
        panic!("{user} with the {key} key: {output:?} instead of {expected:?}\n{log}");
    }
}

fn keys(agent: &mut AgentConn, command: &str, user: &str, more: Value) -> Result<Value, String> {
    let mut arguments = more;
    arguments["username"] = json!(user);
    agent.call(&format!("guest-ssh-{command}-authorized-keys"), arguments).map_err(|error| error.to_string())
}

fn owner_and_mode(vm: &mut Vm, path: &str) -> String {
    vm.run(&format!("stat -c '%U:%G %a' {path}")).unwrap()
}

fn keys_come_and_go(vm: &mut Vm, first: &str, second: &str) {
    let mut agent = vm.agent().unwrap();
    keys(&mut agent, "add", "alice", json!({"keys": [first]})).unwrap();
    assert_eq!(owner_and_mode(vm, "/home/alice/.ssh"), "alice:alice 700");
    assert_eq!(owner_and_mode(vm, KEY_FILE), "alice:alice 600");
    assert_ssh(vm, "alice", "first", true);
    assert_ssh(vm, "alice", "second", false);

    keys(&mut agent, "add", "alice", json!({"keys": [second, first]})).unwrap();
    let list = keys(&mut agent, "get", "alice", json!({})).unwrap();
    let mut list: Vec<&str> = list["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    list.sort_unstable();
    let mut expected = [first, second];
    expected.sort_unstable();
    assert_eq!(list, expected);
    assert_ssh(vm, "alice", "second", true);

    keys(&mut agent, "remove", "alice", json!({"keys": [first]})).unwrap();
    assert_ssh(vm, "alice", "first", false);
    assert_ssh(vm, "alice", "second", true);
    keys(&mut agent, "add", "alice", json!({"keys": [first], "reset": true})).unwrap();
    assert_ssh(vm, "alice", "second", false);
}

/// sshd refuses a file that others may write to; the agent leaves none like that.
fn modes_and_owners_matter(vm: &mut Vm, first: &str, second: &str) {
    let mut agent = vm.agent().unwrap();
    vm.run(&format!("chmod 666 {KEY_FILE}")).unwrap();
    assert_ssh(vm, "alice", "first", false);
    keys(&mut agent, "add", "alice", json!({"keys": [second]})).unwrap();
    if vm.which_agent() == Some(Agent::Guestd) {
        assert_eq!(owner_and_mode(vm, KEY_FILE), "alice:alice 644");
    }
    assert_ssh(vm, "alice", "first", true);

    // A file of root's is one that sshd reads, and it stays root's.
    if vm.which_agent() == Some(Agent::Guestd) {
        vm.run(&format!("chown root:root {KEY_FILE}")).unwrap();
        keys(&mut agent, "remove", "alice", json!({"keys": [first]})).unwrap();
        assert_eq!(owner_and_mode(vm, KEY_FILE), "root:root 644");
        assert_ssh(vm, "alice", "first", false);
        assert_ssh(vm, "alice", "second", true);
    }
}

/// What mallory has in the place of `.ssh` is root's, behind a link: no key gets there by mallory's name.
fn roots_directory_behind_a_link(vm: &mut Vm, first: &str, second: &str) {
    let mut agent = vm.agent().unwrap();
    keys(&mut agent, "add", "root", json!({"keys": [second]})).unwrap();
    let before = roots_keys(vm);
    vm.run("/bin/busybox su mallory -c 'ln -s /root/.ssh /home/mallory/.ssh'").unwrap();
    let attacks = [
        keys(&mut agent, "get", "mallory", json!({})),
        keys(&mut agent, "add", "mallory", json!({"keys": [first]})),
        keys(&mut agent, "add", "mallory", json!({"keys": [first], "reset": true})),
        keys(&mut agent, "remove", "mallory", json!({"keys": [second]})),
    ];
    if vm.which_agent() == Some(Agent::QemuGa) {
        note(&format!("login: qemu-ga and a link to root's .ssh: {attacks:?}"));
        return;
    }
    for attack in attacks {
        let words = attack.unwrap_err();
        assert!(words.contains("'.ssh' is a symbolic link, which is not followed"), "{words}");
    }
    assert_eq!(roots_keys(vm), before);

    // Nor with a directory of mallory's own, and the link in the place of the file.
    let link = "cd && rm .ssh && mkdir -m 700 .ssh && ln -s /root/.ssh/authorized_keys .ssh/authorized_keys";
    vm.run(&format!("/bin/busybox su mallory -c 'HOME=/home/mallory; {link}'")).unwrap();
    let words = keys(&mut agent, "add", "mallory", json!({"keys": [first]})).unwrap_err();
    assert!(words.contains("'authorized_keys' is a symbolic link, which is not followed"), "{words}");
    assert_eq!(roots_keys(vm), before);
    assert_ssh(vm, "root", "first", false);
    assert_ssh(vm, "root", "second", true);
}

/// All that there is in root's directory, and what the file holds.
fn roots_keys(vm: &mut Vm) -> String {
    vm.run("cd /root/.ssh && stat -c '%n %a %U:%G %i' . .* * && cat authorized_keys").unwrap()
}
