//! Stalls, as runc's events name them.

use hostrun_runtime::{Pressure, Stall};
use serde_json::{Value, json};

/// Nothing where the kernel tells nothing.
pub(super) fn of(pressure: Option<&Pressure>) -> Value {
    let stall = |stall: &Stall| {
        json!({
            "avg10": stall.avg10,
            "avg60": stall.avg60,
            "avg300": stall.avg300,
            "total": stall.total_usec,
        })
    };
    pressure.map_or(Value::Null, |pressure| {
        let full = pressure.full.clone().unwrap_or_default();
        json!({ "some": stall(&pressure.some), "full": stall(&full) })
    })
}
