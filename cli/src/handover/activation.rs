//! Socket activation, `sd_listen_fds(3)`: descriptors from 3 on that were opened for the payload.

/// How many descriptors our supervisor handed to us. None where it handed them to another process;
/// one that names nobody cannot know our pid, for there is somebody between us.
pub(crate) fn count() -> u32 {
    let given = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let ours = given("LISTEN_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let count = given("LISTEN_FDS").filter(|_| ours);
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The words that tell the payload of them: it is process 1.
pub(crate) fn environment(count: u32) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]
}
