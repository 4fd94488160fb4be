//! Lines of a log in the two shapes that callers of OCI runtimes parse.

use crate::clock;

/// One line without its end.
pub(crate) fn line(json: bool, level: &str, message: &str) -> String {
    let time = clock::now().to_rfc3339_seconds();
    if json {
        serde_json::json!({ "level": level, "msg": message, "time": time }).to_string()
    } else {
        format!("time=\"{time}\" level={level} msg={}", quoted(message))
    }
}

/// Quoted where it is more than one plain word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_line_has_time_level_and_message() {
        let line = line(false, "error", "it \"failed\"");
        assert!(line.starts_with("time=\"2"), "{line}");
        assert!(
            line.ends_with("level=error msg=\"it \\\"failed\\\"\""),
            "{line}"
        );
        assert!(super::line(false, "debug", "ready").ends_with("level=debug msg=ready"));
    }

    #[test]
    fn a_json_line_is_an_object_of_three_keys() {
        let line: serde_json::Value = serde_json::from_str(&line(true, "error", "x")).unwrap();
        assert_eq!(line.as_object().unwrap().len(), 3);
        assert_eq!(
            (&line["level"], &line["msg"]),
            (&"error".into(), &"x".into())
        );
    }
}
