//! containerd and shims that are killed and come back: each case has a daemon of its own.

mod tasks;

use hostrun_integration::client::containerd::Release;
use hostrun_integration::client::on_shim_alone;

mod machine {
    use super::{Release, on_shim_alone, tasks};

    tasks::play! {
        |case| on_shim_alone(Release::Machine, case);
        trouble:
            keeps_exit_codes_while_containerd_is_dead
            tells_events_of_the_time_containerd_was_dead
            cleans_up_when_shim_and_containerd_were_killed
            cleans_up_when_the_shim_of_a_paused_container_was_killed;
    }
}

mod sid {
    use super::{Release, on_shim_alone, tasks};

    tasks::play! {
        |case| on_shim_alone(Release::Sid, case);
        trouble:
            keeps_exit_codes_while_containerd_is_dead
            tells_events_of_the_time_containerd_was_dead
            cleans_up_when_shim_and_containerd_were_killed
            cleans_up_when_the_shim_of_a_paused_container_was_killed;
    }
}
