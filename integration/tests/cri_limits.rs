//! Pods of Kubernetes where there is something to limit: in the virtual machine.

mod cri;

use hostrun_integration::client::containerd::Release;
use hostrun_integration::client::on_cri;

cri::play! {
    |case| on_cri(Release::Machine, case);
    limits:
        keeps_to_limits_that_change
        tells_that_memory_ran_out;
}
