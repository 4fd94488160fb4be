//! What every pod must do, in the words of CRI.

#![allow(dead_code, reason = "each suite plays what it can")]

pub(crate) mod life;
pub(crate) mod limits;
pub(crate) mod shared;
pub(crate) mod streams;
pub(crate) mod treatment;
pub(crate) mod trouble;

use hostrun_integration::client::cri::message::{
    ContainerConfig, PodConfig, PodSecurity, Security,
};

/// A test for each case, of the same name.
macro_rules! play {
    ($on:expr; $($group:ident: $($case:ident)+;)+) => {
        $($(
            #[test]
            fn $case() -> anyhow::Result<()> {
                $on(cri::$group::$case)
            }
        )+)+
    };
}
pub(crate) use play;

/// A pod as it comes.
pub(crate) fn plain(_: &mut PodConfig, _: &mut PodSecurity) {}

/// A container as it comes.
pub(crate) fn usual(_: &mut ContainerConfig, _: &mut Security) {}

/// Lives until it is told to end.
pub(crate) const STAYS: &str = "trap 'exit 5' TERM; echo stays; while :; do sleep 0.05; done";
