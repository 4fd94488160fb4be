//! A container's health check: what its image says, and what `hostrun run` was told.

use serde_json::Value;
use std::time::Duration;

/// What engines take where nothing is said.
const USUAL: Check = Check {
    command: Vec::new(),
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(30),
    start_period: Duration::ZERO,
    retries: 3,
};

/// How it is found out whether a container works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// With its arguments.
    pub(super) command: Vec<String>,
    /// Between two.
    pub(super) interval: Duration,
    /// How long one may take.
    pub(super) timeout: Duration,
    /// After the container's start; meanwhile a failure means that it is not ready yet.
    pub(super) start_period: Duration,
    /// How many in a row must fail.
    pub(super) retries: u32,
}

impl Check {
    /// Reads two `Healthcheck`s as docker's image configurations have them, the container's own before its image's, key
    /// by key. None where there is no check.
    ///
    /// # Errors
    /// What in it is not understood: nobody knows then whether the container works.
    pub(super) fn read(own: &Value, image: &Value) -> Result<Option<Check>, String> {
        let said = |key| {
            let of = |value: &Value| value.get(key).filter(|value| !value.is_null()).cloned();
            of(own).or_else(|| of(image))
        };
        // Zero stands for what is usual.
        let number = |key| -> Result<Option<u64>, String> {
            let Some(value) = said(key) else {
                return Ok(None);
            };
            let number = value
                .as_u64()
                .ok_or(format!("{key} of its health check is {value}"))?;
            Ok(Some(number).filter(|number| *number > 0))
        };
        let span =
            |key, usual: Duration| number(key).map(|span| span.map_or(usual, Duration::from_nanos));
        let retries = number("Retries")?.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let check = Check {
            command: Vec::new(),
            interval: span("Interval", USUAL.interval)?,
            timeout: span("Timeout", USUAL.timeout)?,
            start_period: span("StartPeriod", USUAL.start_period)?,
            retries: retries.unwrap_or(USUAL.retries),
        };
        let command = said("Test").map_or(Ok(None), |test| command(&test))?;
        Ok(command.map(|command| Check { command, ..check }))
    }
}

/// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", LINE]`; an empty one says nothing.
fn command(test: &Value) -> Result<Option<Vec<String>>, String> {
    let fault = || format!("its health check is not understood: {test}");
    let words = test.as_array().ok_or_else(fault)?.iter();
    let words: Option<Vec<String>> = words.map(|word| word.as_str().map(str::to_owned)).collect();
    let words = words.ok_or_else(fault)?;
    let Some((kind, rest)) = words.split_first() else {
        return Ok(None);
    };
    match (kind.as_str(), rest) {
        ("NONE", []) => Ok(None),
        ("CMD", [_, ..]) => Ok(Some(rest.to_vec())),
        ("CMD-SHELL", [line]) => Ok(Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec())),
        _ => Err(fault()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn an_image_s_check_is_read_as_engines_write_it() {
        let image =
            json!({"Test": ["CMD-SHELL", "a || b"], "Interval": 5_000_000_000_u64, "Retries": 2});
        let check = Check::read(&Value::Null, &image).unwrap().unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "a || b"]);
        assert_eq!((check.interval.as_secs(), check.timeout.as_secs()), (5, 30));
        assert_eq!((check.retries, check.start_period), (2, Duration::ZERO));
        // key by key
        let own = json!({"Test": ["CMD", "x", "y"], "Interval": 0, "Timeout": 1_000_000});
        let check = Check::read(&own, &image).unwrap().unwrap();
        assert_eq!(check.command, ["x", "y"]);
        assert_eq!(
            (check.interval.as_secs(), check.timeout.as_millis()),
            (30, 1)
        );
        assert_eq!(check.retries, 2);
    }

    #[test]
    fn none_is_none() {
        let image = json!({"Test": ["CMD", "x"]});
        assert_eq!(Check::read(&json!({"Test": ["NONE"]}), &image), Ok(None));
        for nothing in [
            json!(null),
            json!({}),
            json!({"Test": []}),
            json!({"Test": null}),
            json!({"Retries": 1}),
        ] {
            assert_eq!(Check::read(&Value::Null, &nothing), Ok(None), "{nothing}");
        }
    }

    #[test]
    fn what_is_not_understood_is_no_health() {
        for test in [
            json!("x"),
            json!(["x"]),
            json!(["CMD"]),
            json!(["CMD-SHELL"]),
            json!(["CMD-SHELL", "a", "b"]),
            json!(["NONE", "x"]),
            json!(["CMD", 1]),
            json!(7),
        ] {
            let check = json!({"Test": test});
            assert!(Check::read(&Value::Null, &check).is_err(), "{check}");
        }
        for key in ["Interval", "Timeout", "StartPeriod", "Retries"] {
            for bad in [json!(-1), json!("1s"), json!(1.5), json!([])] {
                let check = json!({"Test": ["CMD", "x"], key: bad});
                assert!(Check::read(&Value::Null, &check).is_err(), "{check}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_document_is_a_panic(text in "[\\[\\]{}:,\"A-Z0-9-]{0,40}", number: u64) {
            let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            drop(Check::read(&value, &json!({"Test": value, "Interval": number, "Retries": number})));
        }
    }
}
