//! A target of guestd-fuzz as a program of libFuzzer, whose own mutations take turns with the target's.

pub use guestd_fuzz as targets;
pub use libfuzzer_sys;

/// Half of the mutations are libFuzzer's, the others are `guestd_fuzz::mutate`'s.
pub fn mutate(target: &targets::Target, data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    if seed % 2 == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let mut rng = targets::Rng::with_seed(seed.into());
    let mutated = targets::mutate::mutate(target, &mut rng, &data[..size]);
    let size = mutated.len().min(max_size);
    data[..size].copy_from_slice(&mutated[..size]);
    size
}

/// The program of one target.
#[macro_export]
macro_rules! fuzzer {
    ($target:path) => {
        use $crate::libfuzzer_sys;

        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ($target.check)(bytes));
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::mutate(&$target, data, size, max_size, seed)
        });
    };
}
