//! What a benchmark found, for people and for other programs.

pub(crate) mod goals;
pub(crate) mod json;
pub(crate) mod svg;
pub(crate) mod table;

use crate::measure::{Row, Table};
use crate::statistics::{Estimate, estimate, paired};

/// Subjects that the others are held against, where they are there.
pub(crate) const BASES: [&str; 3] = ["floor", "crun", "runc"];

/// The ratio of a row to that of a base in the same table, each round by itself.
pub(crate) fn ratio(table: &Table, row: &Row, base: &str) -> Option<Estimate> {
    let other = |base: &&Row| table.ratios && base.subject != row.subject;
    let base = table.row(base).filter(other)?;
    estimate(&paired(&row.times(), &base.times()))
}
