#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hostrun_fuzz::location(data));
