//! Where an open has to wait, found without waiting.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2, readlinkat};

/// How many links are followed to find a mount: as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// How far the kernel comes on its way to a file by what it knows without asking a file system (openat2(2),
/// `RESOLVE_CACHED`). What it does not know the mount at which it stops has to be asked for: one whose server is gone hangs there.
pub struct Place {
    path: String,
    /// The number of that mount (proc(5), mountinfo).
    pub mount: u64,
    /// The link at which it stopped, if there is one, and where its name ends in the path. A link is not followed before the
    /// time of the last access to it has been written down.
    link: Option<(OwnedFd, usize)>,
    links: u32,
}

impl Place {
    /// The place to which a path leads; `None`: the kernel does not tell, as one before 5.12.
    pub fn of(path: &str) -> Option<Self> {
        Self::after(path.to_owned(), 0)
    }

    fn after(path: String, links: u32) -> Option<Self> {
        if let Some(file) = known(&path, OFlags::empty()) {
            return Some(Self { path, mount: mount_of(&file)?, link: None, links });
        }
        let mut last = known(if path.starts_with('/') { "/" } else { "." }, OFlags::empty())?;
        // What the kernel knows of a path is a beginning of it.
        let ends: Vec<usize> = path.match_indices('/').map(|(end, _)| end).filter(|end| *end != 0).collect();
        let (mut low, mut high) = (0, ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match ends.get(middle).and_then(|end| known(path.get(..*end)?, OFlags::empty())) {
                Some(directory) => (last, low) = (directory, middle + 1),
                None => high = middle,
            }
        }
        let end = ends.get(low).copied().unwrap_or(path.len());
        let link = path.get(..end).and_then(|name| known(name, OFlags::NOFOLLOW)).map(|link| (link, end));
        Some(Self { mount: mount_of(&last)?, path, link, links })
    }

    /// The place to which the path leads on from here; `None`: this is the last. The mount may have to be asked for it.
    pub fn next(self) -> Option<Self> {
        let Self { path, link, links, .. } = self;
        let (link, end) = link?;
        // What is not a link is an error, which asks nobody.
        let target = readlinkat(&link, "", Vec::new()).ok().filter(|_| links < MAX_LINKS)?.into_string().ok()?;
        let (name, rest) = (path.get(..end)?, path.get(end..)?);
        let directory = match name.rfind('/') {
            Some(slash) if !target.starts_with('/') => name.get(..=slash)?,
            _ => "",
        };
        Self::after(format!("{directory}{target}{rest}"), links + 1)
    }
}

fn known(path: &str, flags: OFlags) -> Option<OwnedFd> {
    openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty(), ResolveFlags::CACHED).ok()
}

/// By /proc, since statx(2) may ask the file system.
fn mount_of(fd: &OwnedFd) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The mount at the end of the way.
    fn mount_at(path: &str) -> Option<u64> {
        let mut place = Place::of(path)?;
        loop {
            let mount = place.mount;
            match place.next() {
                Some(next) => place = next,
                None => return Some(mount),
            }
        }
    }

    #[test]
    fn a_path_leads_to_the_mount_of_what_is_known_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(path("a")).unwrap();
        fs::metadata(path("a")).unwrap();
        let (here, proc) = (mount_at(&path("a")), mount_at("/proc/sys"));
        if here.is_none() {
            return guestd_sdk::testkit::skip("this kernel has no RESOLVE_CACHED");
        }
        assert_ne!(here, proc);
        let missing = path(&format!("a/{}", "none/".repeat(200)));
        assert_eq!(mount_at(&missing), here, "a path of which the kernel knows the beginning");
        assert_eq!(mount_at("/"), mount_at("/nothing-of-that-name/x"));
        assert_eq!(mount_at("nothing/of/that/name"), mount_at("."));
        assert_eq!(mount_at(""), mount_at("."));
    }

    #[test]
    fn links_are_followed_that_nobody_has_followed_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(path("a")).unwrap();
        for (target, name) in
            [("/proc", "link"), ("link", "a/wrong"), ("../link", "a/right"), ("a/right", "far"), ("loop", "loop")]
        {
            symlink(target, path(name)).unwrap();
        }
        let (Some(here), proc) = (mount_at(&path("a")), mount_at("/proc")) else {
            return guestd_sdk::testkit::skip("this kernel has no RESOLVE_CACHED");
        };
        assert_eq!(mount_at(&path("far/self/nothing-of-that-name")), proc);
        assert_eq!(mount_at(&path("link")), proc);
        assert_eq!(mount_at(&path("a/wrong/x")), Some(here));
        assert_eq!(mount_at(&path("loop/x")), Some(here));
    }
}
