#![no_main]

guestd_fuzzers::fuzzer!(guestd_fuzzers::targets::arguments::TARGET);
