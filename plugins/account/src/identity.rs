//! A user's rights, lent to a thread.
//!
//! What is done with them the user could have done as well, so no trick with links, mounts or renaming in a home
//! directory gains anything, and a file server that does not trust root (`root_squash` in exports(5)) answers too.

use std::io;
use std::thread;

use nix::unistd::{setfsgid, setfsuid};
use rustix::process::geteuid;
use rustix::thread::set_thread_groups;

use crate::users::User;

/// Does `act` with the rights that a user has to files, on a thread of its own, which ends with it: nothing has to be
/// given back, also where `act` panics.
///
/// Only the ids for access to files are the user's (setfsuid(2)), and with them the thread has none of root's
/// capabilities for files (capabilities(7), "Effect of user ID changes on capabilities"). The real ids would also let the user
/// kill the thread and so the daemon. Fails where the daemon may not do this, or has no more threads.
pub(crate) fn as_user<T: Send>(user: &User, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    if user.uid == geteuid() {
        return Ok(act());
    }
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("account-user".to_owned()).spawn_scoped(scope, || {
            become_user(user)?;
            Ok(act())
        })?;
        worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread with the user's rights has panicked")))
    })
}

fn become_user(user: &User) -> io::Result<()> {
    // rustix calls the kernel, which knows the groups of this thread only; the C library would change all threads.
    set_thread_groups(&user.groups)?;
    let (uid, gid) = (user.uid.as_raw().into(), user.gid.as_raw().into());
    setfsgid(gid);
    setfsuid(uid);
    // Both return what was in force before, and nothing else: only a second call tells whether the first did anything.
    if (setfsgid(gid), setfsuid(uid)) == (gid, uid) { Ok(()) } else { Err(io::Error::from(rustix::io::Errno::PERM)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Gid, Uid};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn files_are_the_users_and_roots_are_out_of_reach() {
        if !geteuid().is_root() {
            guestd_sdk::testkit::skip("only root can lend rights");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (secret, own) = (dir.path().join("secret"), dir.path().join("own"));
        fs::write(&secret, "x").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        let gid = Gid::from_raw(4343);
        let user = User { uid: Uid::from_raw(4242), gid, groups: vec![gid], home: "/".into() };
        let (read, written) = as_user(&user, || (fs::read(&secret), fs::write(&own, "y"))).unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        written.unwrap();
        let made = fs::metadata(&own).unwrap();
        assert_eq!((made.uid(), made.gid()), (4242, 4343));
        assert_eq!(fs::read(&secret).unwrap(), b"x", "the caller keeps its own rights");
        assert!(as_user(&user, || fs::read(&secret).is_ok() || std::panic::panic_any(1)).is_err());
        assert_eq!(fs::read(&secret).unwrap(), b"x");
    }

    #[test]
    fn what_roots_other_groups_may_read_is_out_of_reach_too() {
        if !geteuid().is_root() {
            guestd_sdk::testkit::skip("only root can have other groups");
            return;
        }
        const OTHER: u32 = 4545;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, "x").unwrap();
        std::os::unix::fs::chown(&secret, None, Some(OTHER)).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        let user = |groups| User { uid: Uid::from_raw(4242), gid: Gid::from_raw(4343), groups, home: "/".into() };
        let read = |groups: Vec<Gid>| as_user(&user(groups), || fs::read(&secret).is_ok()).unwrap();
        // The thread with the user's rights begins with the groups of the one that makes it.
        thread::scope(|scope| {
            scope.spawn(|| {
                set_thread_groups(&[Gid::from_raw(OTHER)]).unwrap();
                assert!(!read(Vec::new()));
                assert!(read(vec![Gid::from_raw(OTHER)]), "the user's own groups count");
            });
        });
    }

    #[test]
    fn the_daemons_own_user_needs_no_other_thread() {
        let user = User { uid: geteuid(), gid: Gid::from_raw(7), groups: Vec::new(), home: "/".into() };
        let here = thread::current().id();
        assert_eq!(as_user(&user, || thread::current().id()).unwrap(), here);
    }
}
