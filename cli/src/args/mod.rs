//! The command line exactly as typed: one struct a verb, so that only the chosen verb's tree is ever built.

pub(crate) mod bundles;
pub(crate) mod checkpoint;
pub(crate) mod containers;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod health;
pub(crate) mod images;
pub(crate) mod plain;
pub(crate) mod registries;
pub(crate) mod run;
pub(crate) mod unit;
pub(crate) mod update;
