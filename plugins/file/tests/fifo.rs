//! Fifos: no call ever waits for the other end.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs::OpenOptions;
use std::io::Write;

use common::Bench;
use serde_json::json;

const NOTHING_YET: &str = "failed to read file: Resource temporarily unavailable";

#[test]
fn without_a_writer_a_fifo_is_at_its_end() {
    let bench = Bench::new();
    let fifo = bench.fifo("p");
    let handle = bench.open(&fifo, "r");
    for count in [4096, 1] {
        assert_eq!(bench.read_text(handle, count), (String::new(), true));
    }
    let mut writer = OpenOptions::new().write(true).open(&fifo).unwrap();
    writer.write_all(b"data").unwrap();
    drop(writer);
    assert_eq!(bench.read_text(handle, 4096), ("data".to_owned(), true));
    assert_eq!(bench.read_text(handle, 4096), (String::new(), true));
}

#[test]
fn without_a_reader_a_fifo_cannot_be_opened_for_writing() {
    let bench = Bench::new();
    let fifo = bench.fifo("p");
    for mode in ["w", "a"] {
        let error = bench.error("guest-file-open", json!({"path": fifo, "mode": mode}));
        assert_eq!(error, format!("failed to open file '{fifo}' (mode: '{mode}'): No such device or address"));
    }
}

#[test]
fn a_read_gives_what_is_there_and_no_end_while_there_is_a_writer() {
    let bench = Bench::new();
    let fifo = bench.fifo("p");
    let (reader, writer) = (bench.open(&fifo, "r"), bench.open(&fifo, "w"));
    assert_eq!(bench.error("guest-file-read", json!({"handle": reader})), NOTHING_YET);
    assert_eq!(bench.write(writer, "abc"), 3);
    assert_eq!(bench.read_text(reader, 2), ("ab".to_owned(), false));
    assert_eq!(bench.read_text(reader, 4096), ("c".to_owned(), false));
    assert_eq!(bench.error("guest-file-read", json!({"handle": reader})), NOTHING_YET);
    assert_eq!(bench.read_text(reader, 0), (String::new(), false));
    bench.write(writer, "de");
    bench.close(writer);
    assert_eq!(bench.read_text(reader, 2), ("de".to_owned(), false));
    assert_eq!(bench.read_text(reader, 2), (String::new(), true));
}

#[test]
fn a_write_gives_what_the_fifo_takes() {
    let bench = Bench::new();
    let fifo = bench.fifo("p");
    let (reader, writer) = (bench.open(&fifo, "r"), bench.open(&fifo, "w"));
    let much: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    let taken = usize::try_from(bench.write(writer, &much)).unwrap();
    assert!(taken > 0 && taken < much.len(), "{taken}");
    let error = bench.error("guest-file-write", json!({"handle": writer, "buf-b64": "QQ=="}));
    assert_eq!(error, "failed to write to file: Resource temporarily unavailable");
    let (bytes, eof) = bench.read(reader, 48 << 20);
    assert!(bytes == much.get(..taken).unwrap() && !eof);
    assert_eq!(bench.write(writer, "A"), 1);
}

#[test]
fn a_write_without_a_reader_left_fails_at_once() {
    let bench = Bench::new();
    let fifo = bench.fifo("p");
    let (reader, writer) = (bench.open(&fifo, "r"), bench.open(&fifo, "w"));
    bench.close(reader);
    let error = bench.error("guest-file-write", json!({"handle": writer, "buf-b64": "QQ=="}));
    assert_eq!(error, "failed to write to file: Broken pipe");
    bench.close(writer);
}

#[test]
fn one_handle_can_write_and_read_a_fifo_but_not_seek_in_it() {
    let bench = Bench::new();
    let handle = bench.open(&bench.fifo("p"), "r+");
    assert_eq!(bench.write(handle, "xyz"), 3);
    assert_eq!(bench.read_text(handle, 3), ("xyz".to_owned(), false));
    for whence in ["set", "cur", "end"] {
        let error = bench.error("guest-file-seek", json!({"handle": handle, "offset": 0, "whence": whence}));
        assert_eq!(error, "failed to seek file: Illegal seek");
    }
}
