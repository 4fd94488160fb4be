//! `hostrun health`, and what `hostrun run` is told of it.

use super::containers::Format;
use crate::flags::duration;
use clap::{Args, Parser};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Tell what is healthy and what is not.
///
/// A container is when it runs and passes its health check, if it has one; a service that starts containers when it
/// has not failed; a file of Quadlet's when it could be made into a service. Without a NAME all that run or should run
/// are looked at. Exits with 0 only if all are healthy, and with 1 otherwise.
#[derive(Debug, Parser)]
#[command(name = "health", bin_name = "hostrun health")]
pub(crate) struct Health {
    /// Wait until all are healthy or one is known not to be, at most so long
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "300"
    )]
    pub(crate) wait: Option<u32>,
    /// How to write the list
    #[arg(
        short = 'f',
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) format: Format,
    /// Containers
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// How a container's health is told. What is not said is as the image says.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthFlags {
    /// A command in the container that ends with 0 when all is well, for a shell or as a JSON array; or none
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// How long between two checks
    #[arg(long, value_name = "SPAN", value_parser = span)]
    health_interval: Option<Duration>,
    /// How long a check may take
    #[arg(long, value_name = "SPAN", value_parser = span)]
    health_timeout: Option<Duration>,
    /// How long after its start a container may fail its check
    #[arg(long, value_name = "SPAN", value_parser = span)]
    health_start_period: Option<Duration>,
    /// How many checks in a row must fail
    #[arg(long, value_name = "NUMBER")]
    health_retries: Option<u32>,
    /// Have no health check, whatever the image says
    #[arg(long, conflicts_with_all = ["health_cmd", "health_interval", "health_timeout", "health_start_period", "health_retries"])]
    no_healthcheck: bool,
}

impl HealthFlags {
    /// As `Healthcheck` of an image's configuration is written; none where nothing is said.
    pub(crate) fn written(&self) -> Option<Value> {
        let nanoseconds =
            |span: Duration| json!(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        let none = self.no_healthcheck.then(|| json!(["NONE"]));
        let command = self.health_cmd.as_deref().filter(|text| !text.is_empty());
        let parts = [
            (
                "Test",
                none.or_else(|| command.map(|text| json!(test(text)))),
            ),
            ("Interval", self.health_interval.map(nanoseconds)),
            ("Timeout", self.health_timeout.map(nanoseconds)),
            ("StartPeriod", self.health_start_period.map(nanoseconds)),
            ("Retries", self.health_retries.map(|number| json!(number))),
        ];
        let said = parts
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let said: Map<String, Value> = said.collect();
        (!said.is_empty()).then_some(Value::Object(said))
    }
}

/// A span of time, which may be none: engines write their defaults out.
fn span(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") {
        return Ok(Duration::ZERO);
    }
    duration::duration(text)
}

/// As podman understands it: `none`, a JSON array, or a line for a shell.
fn test(text: &str) -> Vec<String> {
    if text.eq_ignore_ascii_case("none") {
        return vec!["NONE".to_owned()];
    }
    let (kind, mut words) = match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) if !words.is_empty() => ("CMD", words),
        _ => ("CMD-SHELL", vec![text.to_owned()]),
    };
    let named = words.first().map(String::as_str);
    if !matches!(named, Some("NONE" | "CMD" | "CMD-SHELL")) || kind == "CMD-SHELL" {
        words.insert(0, kind.to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_written_as_images_have_it() {
        let flags = |text: &str| {
            let words = ["run"].into_iter().chain(text.split('|')).chain(["img"]);
            let run = crate::args::run::Run::try_parse_from(words);
            run.map(|run| run.health.written())
        };
        assert_eq!(flags("--rm").unwrap(), None);
        assert_eq!(
            flags("--no-healthcheck").unwrap(),
            Some(json!({"Test": ["NONE"]}))
        );
        assert_eq!(
            flags("--health-cmd=wget -q x; exit 1|--health-interval=1m30s|--health-retries=5|--health-start-period=0s")
                .unwrap(),
            Some(json!({
                "Test": ["CMD-SHELL", "wget -q x; exit 1"],
                "Interval": 90_000_000_000_u64,
                "StartPeriod": 0,
                "Retries": 5,
            }))
        );
        for bad in [
            "--no-healthcheck|--health-cmd=x",
            "--health-interval=5",
            "--health-retries=-1",
        ] {
            assert!(flags(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn commands_are_lines_or_arrays() {
        assert_eq!(test("NONE"), ["NONE"]);
        assert_eq!(test("CMD x"), ["CMD-SHELL", "CMD x"]);
        assert_eq!(test(r#"["a", "b c"]"#), ["CMD", "a", "b c"]);
        assert_eq!(test(r#"["CMD", "a"]"#), ["CMD", "a"]);
        assert_eq!(test(r#"["CMD-SHELL", "a b"]"#), ["CMD-SHELL", "a b"]);
        assert_eq!(test(r#"["a""#), ["CMD-SHELL", r#"["a""#]);
        assert_eq!(test("[]"), ["CMD-SHELL", "[]"]);
    }
}
