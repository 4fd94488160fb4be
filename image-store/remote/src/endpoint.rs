//! One registry or mirror: where it answers, what it is shown, and by which client.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Proxy, ProxyBuilder};

use crate::address::{Address, Origin};
use crate::failure::Failure;
use crate::settings::{Credentials, Place, Serves, Trust};

/// What we call ourselves.
const NAME: &str = concat!("hostrun/", env!("CARGO_PKG_VERSION"));

/// Bytes of a connection's buffers: what a read of a blob brings at most.
const BUFFER: usize = 128 * 1024;

/// Most bytes of an answer's header.
const HEADER_MAX: usize = 64 * 1024;

/// A registry or mirror.
#[derive(Debug)]
pub(crate) struct Endpoint {
    place: Place,
    /// For the registry itself.
    own: Clients,
    /// For hosts it sends us to: they are not shown our certificate.
    others: Clients,
    origin: OnceLock<Origin>,
    /// The value of the header `Authorization`, once it is known what the registry wants.
    pass: Mutex<Option<String>>,
    scopes: Mutex<BTreeSet<String>>,
}

/// A client for each scheme, as proxies are set for each.
#[derive(Debug)]
struct Clients {
    secure: Agent,
    plain: Agent,
}

impl Endpoint {
    pub(crate) fn new(place: Place, patience: Duration) -> Self {
        let mut without = place.trust.clone();
        without.client = None;
        Self {
            own: Clients::new(&place.trust, place.insecure, patience),
            others: Clients::new(&without, place.insecure, patience),
            place,
            origin: OnceLock::new(),
            pass: Mutex::default(),
            scopes: Mutex::default(),
        }
    }

    /// Whether it may be asked for this at all.
    pub(crate) fn serves(&self, by_digest: bool) -> bool {
        match self.place.serves {
            Serves::All => true,
            Serves::Digests => by_digest,
            Serves::Tags => !by_digest,
        }
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.place.credentials.as_ref()
    }

    pub(crate) fn repository(&self) -> &str {
        &self.place.repository
    }

    pub(crate) fn name(&self) -> &str {
        &self.place.authority
    }

    /// Where it answers. Only one that need not prove who it is may do without TLS, and only where it
    /// does not speak it.
    pub(crate) fn origin(&self) -> Result<&Origin, Failure> {
        if let Some(origin) = self.origin.get() {
            return Ok(origin);
        }
        let bad = || Failure::invalid(format!("'{}' is no host", self.place.authority));
        let parse = |secure| Origin::parse(secure, &self.place.authority).ok_or_else(bad);
        let secure = parse(true)?;
        let found = if self.place.insecure && !self.speaks_tls(&secure) {
            parse(false)?
        } else {
            secure
        };
        Ok(self.origin.get_or_init(|| found))
    }

    fn speaks_tls(&self, origin: &Origin) -> bool {
        let uri = origin.at("/v2/").uri();
        uri.is_some_and(|uri| self.own.secure.get(uri).call().is_ok())
    }

    /// Something of the repository.
    pub(crate) fn at(&self, rest: &str) -> Result<Address, Failure> {
        let path = match self.place.repository.as_str() {
            "" => "/v2/".to_owned(),
            repository => format!("/v2/{repository}/{rest}"),
        };
        Ok(self.origin()?.at(path))
    }

    /// Who asks there.
    pub(crate) fn client(&self, origin: &Origin) -> &Agent {
        let is_own = self.origin.get() == Some(origin);
        let clients = if is_own { &self.own } else { &self.others };
        if origin.secure {
            &clients.secure
        } else {
            &clients.plain
        }
    }

    pub(crate) fn pass(&self) -> MutexGuard<'_, Option<String>> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a token is to be good for; a new wish makes the old one useless.
    pub(crate) fn want(&self, scope: String) {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if scopes.insert(scope) {
            *self.pass() = None;
        }
    }

    pub(crate) fn scopes(&self) -> Vec<String> {
        let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.iter().cloned().collect()
    }
}

impl Clients {
    fn new(trust: &Trust, insecure: bool, patience: Duration) -> Self {
        let build = |proxy| client(trust, insecure, proxy, patience);
        Self {
            secure: build(proxy(["HTTPS_PROXY", "https_proxy"])),
            plain: build(proxy(["HTTP_PROXY", "http_proxy"])),
        }
    }
}

/// The proxy of the environment; `NO_PROXY` is read with it.
fn proxy(names: [&str; 2]) -> Option<Proxy> {
    let all = names.into_iter().chain(["ALL_PROXY", "all_proxy"]);
    let mut set = all.filter_map(|name| std::env::var(name).ok());
    let value = set.find(|value| !value.is_empty())?;
    Proxy::new(&value).ok().map(|proxy| match no_proxy() {
        None => proxy,
        Some(hosts) => without(&proxy, &hosts).unwrap_or(proxy),
    })
}

fn no_proxy() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    set("NO_PROXY").or_else(|| set("no_proxy"))
}

/// The same proxy, but not for these hosts.
fn without(proxy: &Proxy, hosts: &str) -> Option<Proxy> {
    let mut builder = Proxy::builder(proxy.protocol())
        .host(proxy.host())
        .port(proxy.port());
    if let Some(user) = proxy.username() {
        builder = builder.username(user);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    let hosts = hosts
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty());
    hosts.fold(builder, ProxyBuilder::no_proxy).build().ok()
}

fn client(trust: &Trust, insecure: bool, proxy: Option<Proxy>, patience: Duration) -> Agent {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::Specific(trust.authorities.clone()))
        .client_cert(trust.client.clone())
        .disable_verification(insecure)
        .build();
    let patience = Some(patience);
    // Redirects are ours: credentials stay with the registry, and TLS is not left.
    Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .user_agent(NAME)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(HEADER_MAX)
        .input_buffer_size(BUFFER)
        .output_buffer_size(BUFFER)
        .timeout_resolve(patience)
        .timeout_connect(patience)
        .timeout_send_request(patience)
        .timeout_recv_response(patience)
        .timeout_per_read(patience)
        .timeout_per_write(patience)
        .build()
        .new_agent()
}
