//! Debian's docker-registry, with its files in a folder of the test.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::free_port;
use crate::image::Image;
use crate::runtime::{Call, PATIENCE, Running};

/// `user` with the password `secret`, as `htpasswd -B` writes it.
const USERS: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// The name and password of the user it knows, where it asks for one.
pub const CREDENTIALS: &str = "user:secret";

/// A running registry.
#[derive(Debug)]
pub struct Debian {
    dir: PathBuf,
    port: u16,
    secure: bool,
    process: Option<Running>,
}

/// What a registry asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kind {
    /// It speaks TLS, with a certificate of an authority of its own.
    pub secure: bool,
    /// It wants a name and password.
    pub locked: bool,
    /// It wants to see a certificate of its authority.
    pub mutual: bool,
}

impl Debian {
    /// Starts one that lets everybody in, without TLS.
    ///
    /// # Errors
    /// When it is not installed or does not answer.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::start(dir, Kind::default())
    }

    /// Starts one.
    ///
    /// # Errors
    /// When it is not installed or does not answer.
    pub fn start(dir: &Path, kind: Kind) -> Result<Self> {
        let port = free_port()?;
        let dir = dir.join(format!("registry-{port}"));
        fs::create_dir_all(dir.join("data"))?;
        let place = dir.display();
        let mut config = format!(
            "version: 0.1\nlog:\n  fields: {{service: registry}}\n\
             storage:\n  filesystem: {{rootdirectory: {place}/data}}\n  delete: {{enabled: true}}\n"
        );
        if kind.locked {
            fs::write(dir.join("users"), USERS)?;
            config = format!(
                "{config}{}",
                format_args!("auth:\n  htpasswd: {{realm: test, path: {place}/users}}\n")
            );
        }
        config = format!(
            "{config}{}",
            format_args!("http:\n  addr: 127.0.0.1:{port}\n")
        );
        if kind.secure {
            certify(&dir)?;
            let clients = if kind.mutual {
                format!(", clientcas: [{place}/ca.pem]")
            } else {
                String::new()
            };
            config = format!(
                "{config}{}",
                format_args!(
                    "  tls: {{certificate: {place}/cert.pem, key: {place}/key.pem{clients}}}\n"
                )
            );
        }
        fs::write(dir.join("config.yml"), config)?;
        let mut registry = Self {
            dir,
            port,
            secure: kind.secure,
            process: None,
        };
        registry.resume()?;
        Ok(registry)
    }

    /// Starts it again with what it has.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn resume(&mut self) -> Result<()> {
        let config = self.dir.join("config.yml");
        let words = [Path::new("serve"), &config];
        self.process = Some(Call::new(Path::new("docker-registry"), words).spawn()?);
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            ensure!(
                Instant::now() < end,
                "docker-registry does not answer: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Stops it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// `HOST:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A name in it.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host())
    }

    /// The certificate of its authority.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Puts a certificate for ourselves, and its key, into a folder.
    ///
    /// # Errors
    /// When it speaks no TLS.
    pub fn introduce(&self, folder: &Path) -> Result<()> {
        for (from, to) in [("cert.pem", "me.cert"), ("key.pem", "me.key")] {
            fs::copy(self.dir.join(from), folder.join(to))?;
        }
        Ok(())
    }

    /// What it wrote about what it was asked.
    pub fn log(&self) -> String {
        let process = self.process.as_ref();
        process.map_or(String::new(), |process| {
            format!("{}{}", process.stdout(), process.stderr())
        })
    }

    /// How often a blob was asked for, by a part of its digest.
    pub fn blob_reads(&self, digits: &str) -> usize {
        let log = self.log();
        let asked = |line: &&str| {
            line.contains("http.request.method=GET")
                && line.contains("response completed")
                && line.contains(&format!("/blobs/sha256:{digits}"))
        };
        log.lines().filter(asked).count()
    }

    /// Puts an image there, by skopeo.
    ///
    /// # Errors
    /// When skopeo fails.
    pub fn put(&self, image: &Image, name: &str) -> Result<()> {
        self.skopeo(&image.source(), &format!("docker://{}", self.name(name)))
    }

    /// Copies an image from or to the registry, all of its platforms.
    ///
    /// # Errors
    /// When skopeo fails.
    pub fn skopeo(&self, from: &str, to: &str) -> Result<()> {
        let mut words = vec!["--insecure-policy", "copy", "--quiet", "--all"];
        for (place, side) in [(from, "src"), (to, "dest")] {
            if place.starts_with("docker:") {
                words.extend(match side {
                    "src" => ["--src-tls-verify=false", "--src-creds=user:secret"],
                    _ => ["--dest-tls-verify=false", "--dest-creds=user:secret"],
                });
            }
        }
        words.extend([from, to]);
        Call::new(Path::new("skopeo"), words).run()?.ok().map(drop)
    }

    /// Whether it speaks TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }
}

/// Makes an authority, and a certificate of it for the loopback address.
fn certify(dir: &Path) -> Result<()> {
    let openssl = |line: &str| -> Result<()> {
        let call = Call::new(Path::new("openssl"), line.split_whitespace());
        let made = call.in_dir(dir).run()?;
        made.ok().map(drop).context("openssl")
    };
    fs::write(
        dir.join("names"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n",
    )?;
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {new} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"
    ))?;
    openssl(&format!(
        "req {new} -keyout key.pem -out request.pem -subj /CN=registry"
    ))?;
    openssl(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names",
    )
}
