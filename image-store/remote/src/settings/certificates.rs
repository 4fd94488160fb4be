//! Whom a registry may be vouched for by, and who we are to it: the system's authorities, and folders as
//! containers-certs.d(5) has them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hostrun_image_store::registry::wire::Setup;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PrivateKey};

use super::variable;
use crate::failure::Failure;

/// Where distributions keep the authorities they trust.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Folders with one folder for each registry; the first that has one counts.
const FOLDERS: [&str; 4] = [
    "/etc/hostrun/certs.d",
    "/etc/containers/certs.d",
    "/etc/docker/certs.d",
    "/usr/lib/hostrun/certs.d",
];

/// What TLS to a registry needs.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    pub(crate) authorities: Arc<Vec<Certificate<'static>>>,
    pub(crate) client: Option<ClientCert>,
}

impl Trust {
    /// Reads what is there for a registry.
    pub(super) fn read(setup: &Setup, host: &str, insecure: bool) -> Result<Self, Failure> {
        let folder = match &setup.cert_dir {
            Some(dir) => Some(dir.clone()),
            None => FOLDERS
                .into_iter()
                .map(|folder| Path::new(folder).join(host))
                .find(|folder| folder.is_dir()),
        };
        let mut authorities = Vec::new();
        if !insecure {
            authorities.extend(of_system()?);
        }
        let mut client = None;
        if let Some(folder) = folder {
            let files = files(&folder).map_err(|error| unreadable(&folder, &error))?;
            for file in files {
                match file.extension().and_then(|end| end.to_str()) {
                    Some("crt") if !insecure => authorities.extend(certificates(&file, true)?),
                    Some("cert") => client = Some(identity(&file)?),
                    _ => {}
                }
            }
        }
        let owned = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
        Ok(Self {
            authorities: Arc::new(authorities.iter().map(owned).collect()),
            client,
        })
    }
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

fn of_system() -> Result<Vec<CertificateDer<'static>>, Failure> {
    let named = variable("SSL_CERT_FILE");
    let mut usual = SYSTEM.into_iter().map(PathBuf::from);
    match named.or_else(|| usual.find(|file| file.is_file())) {
        Some(file) => certificates(&file, false),
        None => Ok(vec![]),
    }
}

/// The certificates of a file. Of a large collection one that cannot be read is left out.
fn certificates(file: &Path, strict: bool) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(file, &error))?;
    let mut all = Vec::new();
    for certificate in found {
        match certificate {
            Ok(certificate) => all.push(certificate),
            Err(error) if strict => return Err(unreadable(file, &error)),
            Err(_one_of_many) => {}
        }
    }
    if strict && all.is_empty() {
        return Err(unreadable(file, &"no certificate in it"));
    }
    Ok(all)
}

/// A certificate of ours and the key beside it.
fn identity(file: &Path) -> Result<ClientCert, Failure> {
    let chain = certificates(file, true)?;
    let key_file = file.with_extension("key");
    let key =
        PrivateKeyDer::from_pem_file(&key_file).map_err(|error| unreadable(&key_file, &error))?;
    // Tried here, where it can be said which file is wrong.
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &ring::default_provider())
        .map_err(|error| unreadable(file, &error))?;
    let text = fs::read(&key_file).map_err(|error| unreadable(&key_file, &error))?;
    let key = PrivateKey::from_pem(&text).map_err(|error| unreadable(&key_file, &error))?;
    let owned = |der: &CertificateDer<'_>| Certificate::from_der(der).to_owned();
    let chain: Vec<Certificate<'static>> = chain.iter().map(owned).collect();
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::invalid(format!("cannot use {}: {error}", file.display()))
}
