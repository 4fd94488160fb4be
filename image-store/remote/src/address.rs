//! Where a request goes, and which places are the same one.

use std::fmt;

use ureq::http::Uri;

use crate::failure::Failure;

/// Scheme, host and port: who gets what is meant for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A place on the network: an origin, and a path with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) origin: Origin,
    /// Begins with `/`.
    pub(crate) path: String,
}

impl Origin {
    /// Of `HOST[:PORT]`.
    pub(crate) fn parse(secure: bool, authority: &str) -> Option<Self> {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            Some(port) => port.parse().ok()?,
            None if secure => 443,
            None => 80,
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let good = !host.is_empty() && host.bytes().all(allowed);
        good.then(|| Self {
            secure,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// A path there.
    pub(crate) fn at(&self, path: impl Into<String>) -> Address {
        Address {
            origin: self.clone(),
            path: path.into(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = if self.secure { 443 } else { 80 };
        f.write_str(&self.host)?;
        if self.port != usual {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.origin, self.path)
    }
}

impl Address {
    /// A whole URL. Names and passwords in it are refused: nobody of good faith sends them.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let bad = || Failure::network(format!("'{}' is no address to go to", shown(text)));
        let (secure, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(bad());
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let origin = Origin::parse(secure, authority).ok_or_else(bad)?;
        let path = path.split('#').next().unwrap_or_default();
        let path = match path.strip_prefix('/') {
            Some(_) => path.to_owned(),
            None => format!("/{path}"),
        };
        let address = Self { origin, path };
        address.uri().map(|_uri| address).ok_or_else(bad)
    }

    /// What a `Location` means here. Nothing leads from TLS to plain HTTP.
    pub(crate) fn join(&self, location: &str) -> Result<Self, Failure> {
        let scheme = if self.origin.secure { "https" } else { "http" };
        let whole = if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            self.origin.at(location).to_string()
        } else if location.contains("://") {
            location.to_owned()
        } else {
            let dir = self.path.split('?').next().unwrap_or_default();
            let dir = dir.rsplit_once('/').map_or("", |(dir, _)| dir);
            self.origin.at(format!("{dir}/{location}")).to_string()
        };
        let target = Self::parse(&whole)?;
        if self.origin.secure && !target.origin.secure {
            let cause = format!("it sends us from TLS to plain HTTP at {}", target.origin);
            return Err(Failure::network(cause));
        }
        Ok(target)
    }

    /// As the client library takes it; none with bytes that no URL has.
    pub(crate) fn uri(&self) -> Option<Uri> {
        let text = self.to_string();
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| text.parse().ok()).flatten()
    }

    /// With one more parameter.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let value = encoded(value);
        self.path = format!("{}{mark}{key}={value}", self.path);
        self
    }
}

/// A value as a query or a form has it.
pub(crate) fn encoded(value: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(value, KEPT).to_string()
}

/// What somebody else wrote, cut to a length a line can bear.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .flat_map(char::escape_debug)
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn locations_lead_where_they_say_and_never_down_from_tls() {
        let here = Address::parse("https://r.example:5000/v2/a/blobs/x?y=1").unwrap();
        for (location, target) in [
            ("/other", "https://r.example:5000/other"),
            ("next", "https://r.example:5000/v2/a/blobs/next"),
            ("//cdn.example/x", "https://cdn.example/x"),
            (
                "https://CDN.example:443/x?a=b#c",
                "https://cdn.example/x?a=b",
            ),
        ] {
            assert_eq!(here.join(location).unwrap().to_string(), target);
        }
        for location in [
            "http://r.example/x",
            "https://user:secret@r.example/x",
            "file:///etc/passwd",
            "https:///x",
            "https://r.example:99999/x",
            "https://r.example/a\r\nX: y",
            "https://r.example/a b",
        ] {
            assert!(here.join(location).is_err(), "{location}");
        }
    }

    #[test]
    fn the_same_place_is_scheme_host_and_port() {
        let origin = |text: &str| Address::parse(text).unwrap().origin;
        assert_eq!(origin("https://a/"), origin("https://A:443/x"));
        assert_ne!(origin("https://a/"), origin("http://a:443/"));
        assert_ne!(origin("https://a/"), origin("https://a:444/"));
    }

    proptest! {
        #[test]
        fn no_location_leads_out_of_http(location in ".*") {
            let here = Address::parse("https://r.example/v2/").unwrap();
            if let Ok(target) = here.join(&location) {
                prop_assert!(target.origin.secure);
                prop_assert!(target.uri().is_some());
            }
        }
    }
}
