//! The same with containerd 2.x of Debian sid, which asks for a share of the processors for every pod, so that it
//! makes none on a machine without that controller.

mod cri;

use hostrun_integration::client::containerd::Release;
use hostrun_integration::client::on_cri;

cri::play! {
    |case| on_cri(Release::Sid, case);
    life:
        lives_from_run_to_remove;
    limits:
        keeps_to_limits_that_change
        tells_that_memory_ran_out;
}
