//! A writer of cpio archives in the `newc` format, as the kernel unpacks them.

use std::collections::HashSet;

/// An archive that grows in memory. Directories above an entry are added by themselves.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
    names: HashSet<String>,
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

impl Archive {
    /// Adds a directory, once.
    pub(crate) fn directory(&mut self, path: &str) {
        let path = relative(path);
        if path.is_empty() || self.names.contains(path) {
            return;
        }
        self.parents(path);
        self.entry(path, DIRECTORY | 0o755, &[]);
    }

    /// Adds a file with its permission bits. The first of two entries with one name stays.
    pub(crate) fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.leaf(path, REGULAR | mode, data);
    }

    /// Adds a symbolic link. The first of two entries with one name stays.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.leaf(path, SYMLINK | 0o777, target.as_bytes());
    }

    /// The complete archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.raw("TRAILER!!!", 0, 0, &[]);
        self.bytes
    }

    fn leaf(&mut self, path: &str, mode: u32, data: &[u8]) {
        let path = relative(path);
        if self.names.contains(path) {
            return;
        }
        self.parents(path);
        self.entry(path, mode, data);
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.names.insert(path.to_owned());
        self.inode += 1;
        self.raw(path, self.inode, mode, data);
    }

    fn raw(&mut self, name: &str, inode: u32, mode: u32, data: &[u8]) {
        // magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let header = format!(
            "070701{inode:08x}{mode:08x}{zero:08x}{zero:08x}{one:08x}{zero:08x}{size:08x}\
             {zero:08x}{zero:08x}{zero:08x}{zero:08x}{name_size:08x}{zero:08x}",
            zero = 0,
            one = 1,
            size = data.len(),
            name_size = name.len() + 1,
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }
}

fn relative(path: &str) -> &str {
    path.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn parents_come_first_and_entries_are_aligned() {
        let mut archive = Archive::default();
        archive.file("/a/b/c", 0o644, b"12345");
        archive.symlink("/a/link", "b/c");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let at = |name: &str| text.find(name).unwrap_or(usize::MAX);
        assert!(at("\0\0a\0") < at("a/b\0") || at("a\0") < at("a/b\0"));
        assert!(at("a/b\0") < at("a/b/c\0"));
        assert!(at("a/b/c\0") < at("12345"));
        assert!(at("12345") < at("TRAILER!!!"));
        assert_eq!(text.matches("070701").count(), 5);
    }

    #[test]
    fn the_first_entry_of_a_name_stays() {
        let mut archive = Archive::default();
        archive.file("/x", 0o644, b"first");
        archive.file("/x", 0o644, b"second");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("first"));
        assert!(!text.contains("second"));
    }
}
