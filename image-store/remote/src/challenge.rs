//! What a registry wants to see before it answers: the header `WWW-Authenticate` (RFC 9110, 11.6.1).

/// One way to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password.
    Basic,
    /// A token, to be had at `realm`.
    Bearer {
        /// A URL.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
    },
}

/// Longest header that is looked at.
const LENGTH_MAX: usize = 16 * 1024;

/// The challenges of a header, in its order; what is not understood is left out.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut words = Words {
        rest: header.get(..LENGTH_MAX).unwrap_or(header),
    };
    let mut found = Vec::new();
    let mut scheme: Option<(String, Vec<(String, String)>)> = None;
    while let Some(word) = words.token() {
        if words.eats('=') {
            let value = words.value();
            if let Some((_, parameters)) = &mut scheme {
                parameters.push((word.to_ascii_lowercase(), value));
            }
        } else {
            found.extend(scheme.take().and_then(finished));
            scheme = Some((word.to_ascii_lowercase(), Vec::new()));
        }
    }
    found.extend(scheme.and_then(finished));
    found
}

fn finished((scheme, parameters): (String, Vec<(String, String)>)) -> Option<Challenge> {
    let of = |key: &str| {
        let mut values = parameters.iter().filter(|(name, _)| name == key);
        values.next().map(|(_, value)| value.clone())
    };
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: of("realm")?,
            service: of("service"),
        }),
        _ => None,
    }
}

struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn token(&mut self) -> Option<&'a str> {
        let separators = |c: char| c == ',' || c.is_ascii_whitespace();
        self.rest = self.rest.trim_start_matches(separators);
        let is_end = |c: char| separators(c) || c == '=' || c == '"';
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        if end == 0 {
            // A stray mark: nothing after it can be read for sure.
            self.rest = "";
            return None;
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }

    fn eats(&mut self, mark: char) -> bool {
        match self.rest.trim_start().strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    /// A token or a quoted string.
    fn value(&mut self) -> String {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = |c: char| c == ',' || c.is_ascii_whitespace();
            let end = self.rest.find(end).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return value.to_owned();
        };
        let mut value = String::new();
        let mut letters = quoted.chars();
        loop {
            match letters.next() {
                None | Some('"') => break,
                Some('\\') => value.extend(letters.next()),
                Some(letter) => value.push(letter),
            }
        }
        self.rest = letters.as_str();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull""#;
        assert_eq!(
            parse(hub),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io")
            )]
        );
        assert_eq!(
            parse(r#"Basic realm="a, b=\"c\"", bearer realm=https://x/y"#),
            [Challenge::Basic, bearer("https://x/y", None)]
        );
        assert_eq!(parse(r#"Negotiate, Basic realm = "x""#), [Challenge::Basic]);
        for empty in [
            "",
            ",",
            "=",
            "Bearer",
            "Digest realm=\"x\"",
            "\"",
            "Bearer service=x",
        ] {
            assert_eq!(parse(empty), [], "{empty}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_fault(header in ".*") {
            drop(parse(&header));
        }
    }
}
