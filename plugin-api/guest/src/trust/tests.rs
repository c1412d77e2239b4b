use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::path::PathBuf;

/// A user that nobody is.
const STRANGER: u32 = 4242;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A directory with the file `bin/file` in it.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::write(dir.path().join("bin/file"), "text").unwrap();
    for (name, mode) in [("", 0o755), ("bin", 0o755), ("bin/file", 0o755)] {
        set_mode(&dir.path().join(name), mode);
    }
    dir
}

fn agent() -> Trust {
    Trust::of_agent()
}

/// What each way to use a path says of it.
fn all_say(path: &Path) -> [Option<String>; 5] {
    let said = |result: Result<(), Untrusted>| result.err().map(|error| error.to_string());
    assert_eq!(said(agent().check_writable(path)), said(agent().writable(path, 0o600).map(drop)));
    assert_eq!(said(agent().check_log(path)), said(agent().log(path, 0o600).map(drop)));
    [
        said(agent().program(path)),
        said(agent().text(path).map(drop)),
        said(agent().open(path).map(drop)),
        said(agent().writable(path, 0o600).map(drop)),
        said(agent().log(path, 0o600).map(drop)),
    ]
}

fn all_refuse(path: &Path, words: &str) {
    for said in all_say(path) {
        let said = said.unwrap_or_else(|| panic!("{} is trusted", path.display()));
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn what_only_its_owner_can_change_is_trusted_by_whatever_way_it_is_reached() {
    let dir = tree();
    symlink("bin/../bin", dir.path().join("link")).unwrap();
    symlink(dir.path().join("link/file"), dir.path().join("bin/absolute")).unwrap();
    for path in ["bin/file", "bin/./file", "bin/../bin/file", "link/file", "bin/absolute"] {
        assert_eq!(all_say(&dir.path().join(path)), [const { None }; 5], "{path}");
    }
    assert_eq!(agent().text(&dir.path().join("link/file")).unwrap(), "text");
    assert!(agent().directory(&dir.path().join("link")).is_ok());
}

#[test]
fn what_others_can_change_is_not_wherever_on_the_way_it_is() {
    let dir = tree();
    let file = dir.path().join("bin/file");
    for mode in [0o775, 0o757, 0o777, 0o2775] {
        for path in [dir.path().join("bin"), file.clone()] {
            set_mode(&path, mode);
            let words = format!("'{}' can be written by others (mode {mode:04o})", path.display());
            if path != file && mode & 0o002 == 0 {
                assert!(agent().log(&file, 0o600).is_ok(), "a group may have the directory of logs");
                assert!(agent().text(&file).unwrap_err().to_string().contains(&words));
            } else {
                all_refuse(&file, &words);
            }
            set_mode(&path, 0o755);
        }
    }
    fs::create_dir(dir.path().join("open")).unwrap();
    symlink("../bin", dir.path().join("open/link")).unwrap();
    symlink("open/link", dir.path().join("link")).unwrap();
    set_mode(&dir.path().join("open"), 0o777);
    all_refuse(&dir.path().join("open/link/file"), "/open' can be written by others");
    all_refuse(&dir.path().join("link/file"), "/open' can be written by others");
    set_mode(&dir.path().join("open"), 0o1777);
    assert_eq!(all_say(&dir.path().join("link/file")), [const { None }; 5]);
    let error = agent().directory(&dir.path().join("open")).unwrap_err().to_string();
    assert!(error.contains("can be written by others (mode 1777)"), "its entries are not believed: {error}");
}

#[test]
fn what_belongs_to_somebody_else_is_not_unless_that_user_is_named() {
    if !geteuid().is_root() {
        return guestd_sdk::testkit::skip("only root can give files away");
    }
    let dir = tree();
    let file = dir.path().join("bin/file");
    symlink("../bin/file", dir.path().join("bin/link")).unwrap();
    for path in ["bin/link", "bin", "bin/file", ""] {
        let path = dir.path().join(path);
        lchown(&path, Some(STRANGER), None).unwrap();
        let place = path.display().to_string();
        let words = format!("'{}' is owned by user 4242, who could change it", place.trim_end_matches('/'));
        all_refuse(&dir.path().join("bin/link"), &words);
        assert!(agent().also(STRANGER).program(&dir.path().join("bin/link")).is_ok());
        lchown(&path, Some(0), None).unwrap();
    }
    chown(&file, Some(STRANGER), None).unwrap();
    assert!(agent().also(STRANGER + 1).program(&file).is_err());
    let inside = agent().directory(&dir.path().join("bin")).unwrap().open("file".as_ref()).unwrap_err();
    assert_eq!(inside.about(&file), "is owned by user 4242, who could change it");
    assert!(inside.about(dir.path()).starts_with("cannot be trusted: '"));
}

#[test]
fn what_is_no_file_is_named_and_nothing_blocks() {
    let dir = tree();
    symlink("loop", dir.path().join("loop")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("fifo"), Mode::S_IRUSR).unwrap();
    for (path, words) in [
        ("bin", "/bin' is a directory"),
        ("bin/..", "' is a directory"),
        ("bin/file/x", "/bin/file' is no directory"),
        ("none/x", "/none' cannot be looked at: No such file or directory"),
        ("loop", "has too many symbolic links"),
        ("fifo", "/fifo' is no regular file"),
    ] {
        all_refuse(&dir.path().join(path), words);
    }
    let missing = agent().text(&dir.path().join("bin/none")).unwrap_err();
    assert!(missing.is_absent(), "{missing}");
    let names = agent().directory(dir.path()).unwrap();
    for (name, words) in [("fifo", "is no regular file"), ("loop", "is a symbolic link"), ("bin", "is no regular file")]
    {
        assert!(names.open(name.as_ref()).unwrap_err().to_string().ends_with(words), "{name}");
    }
    assert_eq!(names.names().unwrap(), ["bin", "fifo", "loop"]);
}

#[test]
fn a_text_is_limited_and_utf8() {
    let dir = tree();
    let file = dir.path().join("bin/file");
    fs::write(&file, vec![b' '; 1 << 20]).unwrap();
    assert_eq!(agent().text(&file).unwrap().len(), 1 << 20);
    fs::write(&file, vec![b' '; (1 << 20) + 1]).unwrap();
    let error = agent().text(&file).unwrap_err();
    assert!(error.is_about_content() && error.to_string().ends_with("is larger than 1048576 bytes"), "{error}");
    fs::write(&file, b"\xFF").unwrap();
    assert!(agent().text(&file).unwrap_err().is_about_content());
}

#[test]
fn a_new_file_has_the_mode_that_is_asked_for_and_a_planted_one_is_refused() {
    let dir = tree();
    let made = |name: &str| -> PathBuf { dir.path().join(name) };
    agent().check_writable(&made("pid")).unwrap();
    agent().check_log(&made("log")).unwrap();
    assert!(!made("pid").exists() && !made("log").exists());
    agent().writable(&made("pid"), 0o644).unwrap();
    agent().log(&made("log"), 0o600).unwrap();
    assert_eq!(fs::metadata(made("pid")).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(fs::metadata(made("log")).unwrap().mode() & 0o7777, 0o600);
    // A directory like /tmp, in which another has given a second name to a file of root's.
    fs::create_dir(made("tmp")).unwrap();
    set_mode(&made("tmp"), 0o1777);
    fs::hard_link(made("bin/file"), made("tmp/log")).unwrap();
    for result in [agent().log(&made("tmp/log"), 0o600), agent().writable(&made("tmp/log"), 0o600)] {
        assert!(result.unwrap_err().to_string().contains("has another name elsewhere"));
    }
    // And one like Ubuntu's /var/log: no link there is followed, whosever it is.
    fs::create_dir(made("logs")).unwrap();
    set_mode(&made("logs"), 0o775);
    symlink("../bin/file", made("logs/log")).unwrap();
    assert!(agent().log(&made("logs/log"), 0o600).unwrap_err().to_string().contains("is a symbolic link"));
    agent().log(Path::new("/dev/null"), 0o600).unwrap();
}

#[test]
fn a_directory_stays_what_was_checked_though_its_path_is_exchanged() {
    let dir = tree();
    let directory = agent().directory(&dir.path().join("bin")).unwrap();
    fs::rename(dir.path().join("bin"), dir.path().join("old")).unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    fs::write(dir.path().join("bin/file"), "another").unwrap();
    assert_eq!(fs::read_to_string(directory.path_through("file".as_ref())).unwrap(), "text");
    assert_eq!(std::io::read_to_string(directory.open("file".as_ref()).unwrap()).unwrap(), "text");
}
