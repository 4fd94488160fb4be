//! Socket activation, `sd_listen_fds(3)`: descriptors from 3 on that were opened for the payload.

/// How many descriptors our supervisor handed to us. None where it handed them to another process.
pub(crate) fn count() -> u32 {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
    };
    let (Some(count), Some(pid)) = (number("LISTEN_FDS"), number("LISTEN_PID")) else {
        return 0;
    };
    if pid == std::process::id() { count } else { 0 }
}

/// The words that tell the payload of them: it is process 1.
pub(crate) fn environment(count: u32) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]
}
