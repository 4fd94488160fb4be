//! How systemd hears that a container is up, and how anybody finds out whether it works.

use super::Conversion;

impl Conversion<'_> {
    pub(super) fn readiness(&mut self, name: &str) {
        if self
            .last("Notify")
            .is_some_and(|entry| entry.value == "healthy")
        {
            // It is up when it passes its check, or the start fails.
            self.usual_type();
            let wait = [&self.neighbours.hostrun(), "health", "--wait", name];
            let wait = crate::words::join(wait);
            self.service.line("ExecStartPost", wait);
        } else if self.is_true("Notify") == Some(true) {
            self.service.line("Type", "notify");
            self.service.line("NotifyAccess", "all");
        } else {
            self.usual_type();
        }
        self.health();
    }

    fn usual_type(&mut self) {
        if !self.service.says("Service", "Type") {
            self.service.line("Type", "exec");
        }
    }

    fn health(&mut self) {
        // Nobody checks by the clock; whoever waits for a container does so meanwhile.
        if let Some(entry) = self.last("HealthInterval").cloned()
            && entry.value != "disable"
        {
            self.flags
                .push(format!("--health-interval={}", entry.value));
        }
        if let Some(entry) = self.last("HealthOnFailure").cloned()
            && entry.value != "none"
        {
            let hint = "whoever asks decides: 'hostrun health NAME' in a timer, or Notify=yes and WatchdogSec=";
            self.refuse(&entry, "nobody watches containers", hint);
        }
    }
}
