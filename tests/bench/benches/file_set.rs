//! Reading and writing files, in process, through the sdk's test kit: what of the time is the set's own.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::Write;
use std::path::Path;

use divan::Bencher;
use divan::counter::BytesCount;
use guestd_sdk::testkit::TestKit;
use serde_json::json;

fn main() {
    divan::main();
}

const SIZES: [usize; 4] = [4 << 10, 64 << 10, 1 << 20, 16 << 20];

/// A file set with a file of that size open, and its handle.
fn file(dir: &Path, size: usize) -> (TestKit, i64) {
    let path = dir.join("data");
    std::fs::File::create(&path).unwrap().write_all(&vec![0x5A; size]).unwrap();
    let kit = TestKit::start(guestd_file::plugin_module()).unwrap();
    let handle = kit.call("guest-file-open", json!({"path": path, "mode": "r+"})).unwrap();
    (kit, handle.as_i64().unwrap())
}

fn rewind(kit: &TestKit, handle: i64) {
    kit.call("guest-file-seek", json!({"handle": handle, "offset": 0, "whence": 0})).unwrap();
}

/// Read and encoded.
#[divan::bench(args = SIZES)]
fn file_read(bencher: Bencher<'_, '_>, size: usize) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let (kit, handle) = file(dir.path(), size);
    let arguments = json!({"handle": handle, "count": size}).to_string();
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| rewind(&kit, handle))
        .bench_local_values(|()| kit.call_raw("guest-file-read", &arguments, 0).unwrap());
}

/// Decoded in place and written; the test kit copies the request first.
#[divan::bench(args = SIZES)]
fn file_write(bencher: Bencher<'_, '_>, size: usize) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let (kit, handle) = file(dir.path(), size);
    let data = base64_simd::STANDARD.encode_to_string(vec![0x5A; size]);
    let arguments = json!({"handle": handle, "buf-b64": data}).to_string();
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| rewind(&kit, handle))
        .bench_local_values(|()| kit.call_raw("guest-file-write", &arguments, 0).unwrap());
}

#[divan::bench(args = SIZES)]
fn base64_encode(bencher: Bencher<'_, '_>, size: usize) {
    let data = vec![0x5A; size];
    let mut text = Vec::with_capacity(base64_simd::STANDARD.encoded_length(size));
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        text.clear();
        base64_simd::STANDARD.encode_append(&data, &mut text);
    });
}
