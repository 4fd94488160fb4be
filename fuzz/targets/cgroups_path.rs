#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hostrun_fuzz::cgroups_path(data));
