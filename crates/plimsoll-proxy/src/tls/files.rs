//! Certificates and keys, as files have them.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::{CertificateConfig, TlsConfig};

/// A certificate with its key, and what must be known of it.
pub(super) struct Certified {
    pub(super) key: Arc<CertifiedKey>,
    /// The names that it is for, in lower case, such as `example.com` and `*.example.com`.
    pub(super) names: Vec<String>,
    /// When it ends, since 1970.
    pub(super) end: Duration,
}

/// Reads a certificate with what vouches for it, and its key.
pub(super) fn certificate(
    told: &CertificateConfig,
    provider: &CryptoProvider,
) -> Result<Certified, String> {
    let chain = certificates(&told.chain)?;
    let at_key = |what: &dyn Display| format!("'{}': {what}", told.key.display());
    let key = PrivateKeyDer::from_pem_file(&told.key).map_err(|error| match error {
        pem::Error::NoItemsFound => at_key(&"there is no private key in it, in PEM"),
        pem::Error::Io(error) => at_key(&error),
        error => at_key(&error),
    })?;
    let (names, end) =
        known(&chain[0]).map_err(|error| format!("'{}': {error}", told.chain.display()))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            at_key(&format_args!("it is not the key of '{}'", told.chain.display()))
        }
        error => at_key(&error),
    })?;
    Ok(Certified { key: Arc::new(key), names, end })
}

/// Reads who vouches for clients' certificates.
pub(super) fn authorities(
    path: &Path,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let read = certificates(path)?;
    let mut roots = RootCertStore::empty();
    for authority in &read {
        let added = roots.add(authority.clone());
        added.map_err(|error| format!("'{}': {error}", path.display()))?;
    }
    Ok((roots, read))
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |what: &dyn Display| format!("'{}': {what}", path.display());
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let read: Vec<_> = read.map_err(|error| match error {
        pem::Error::Io(error) => wrong(&error),
        error => wrong(&error),
    })?;
    if read.is_empty() {
        return Err(wrong(&"there is no certificate in it, in PEM"));
    }
    Ok(read)
}

/// The names that a certificate is for, and when it ends.
fn known(certificate: &CertificateDer<'_>) -> Result<(Vec<String>, Duration), String> {
    let certificate = Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let told = certificate.tbs_certificate;
    let others = told.get::<SubjectAltName>().map_err(|error| error.to_string())?;
    let others = others.map(|(_, others)| others.0).unwrap_or_default();
    let names = others.into_iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    });
    Ok((names.collect(), told.validity.not_after.to_unix_duration()))
}

/// Which files there are, since when, and their lengths. Some who copy files keep the times that they
/// were written at.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<[u64; 4]>>);

impl Stamps {
    pub(super) fn of(told: &TlsConfig) -> Self {
        let stamp = |path: &Path| {
            let known = path.metadata().ok()?;
            let changed = (known.ctime().cast_unsigned(), known.ctime_nsec().cast_unsigned());
            Some([known.ino(), known.len(), changed.0, changed.1])
        };
        let pairs = told.certificates.iter().flat_map(|both| [&both.chain, &both.key]);
        let clients = told.clients.iter().map(|clients| &clients.authorities);
        Self(pairs.chain(clients).map(|path| stamp(path)).collect())
    }
}
