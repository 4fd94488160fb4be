//! Socket activation, `sd_listen_fds(3)`: descriptors from 3 on that were opened for the payload.

/// How many descriptors our supervisor handed to us. None where it handed them to another process;
/// one that names nobody cannot know our pid, for there is somebody between us.
pub(crate) fn count() -> u32 {
    let given = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let ours = given("LISTEN_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let count = given("LISTEN_FDS").filter(|_| ours);
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The words that tell the payload of them: it is process 1, or the child of an init that says so (`init.rs`).
pub(crate) fn environment(count: u32) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]
}

/// The same, and what the supervisor calls each of them, in a container of ours. Under runc's verbs a payload
/// hears nothing of that.
pub(crate) fn named(count: u32) -> Vec<String> {
    let mut words = environment(count);
    let names = std::env::var("LISTEN_FDNAMES").ok();
    let names = names.filter(|names| count > 0 && !names.is_empty());
    words.extend(names.map(|names| format!("LISTEN_FDNAMES={names}")));
    words
}
