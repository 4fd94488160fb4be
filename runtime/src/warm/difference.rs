//! What a start asks for that its class does not have.

use crate::plan::refusal::Refusals;
use oci_spec::runtime::Spec;
use serde_json::Value;

/// Said of each.
pub(super) const DIFFERS: &str = "differs from what the sandboxes were made for";

/// Names each difference by its JSON path.
pub(super) fn refuse(asked: &Spec, made: &Spec, refusals: &mut Refusals) {
    let (Ok(asked), Ok(made)) = (serde_json::to_value(asked), serde_json::to_value(made)) else {
        refusals.refuse("config", DIFFERS);
        return;
    };
    let mut paths = Vec::new();
    differences("", &asked, &made, &mut paths);
    if paths.is_empty() {
        paths.push("config".to_owned());
    }
    for path in paths {
        refusals.refuse(path, DIFFERS);
    }
}

fn differences(path: &str, asked: &Value, made: &Value, paths: &mut Vec<String>) {
    let (Value::Object(asked), Value::Object(made)) = (asked, made) else {
        if asked != made {
            paths.push(path.to_owned());
        }
        return;
    };
    let only_made = made.keys().filter(|key| !asked.contains_key(*key));
    for key in asked.keys().chain(only_made) {
        let below = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        let of = |object: &serde_json::Map<String, Value>| object.get(key).cloned();
        let (asked, made) = (of(asked).unwrap_or_default(), of(made).unwrap_or_default());
        differences(&below, &asked, &made, paths);
    }
}
