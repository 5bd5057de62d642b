//! What listeners with TLS are served by: certificates, and who may connect with one of its own.

mod files;
mod names;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoClientAuth, ProducesTickets, WebPkiClientVerifier};

use self::files::Stamps;
use self::names::ByName;
use crate::config::{CertificateConfig, ClientsConfig, TlsConfig};

/// What clients may speak after the handshake, the better one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Certificates as their files were read last.
#[derive(Clone)]
pub(crate) struct Identity {
    /// What clients are served by.
    pub(crate) clients: Arc<ServerConfig>,
    /// What operators are.
    pub(crate) operators: Arc<ServerConfig>,
    /// When each certificate ends, since 1970.
    ends: Vec<(PathBuf, Duration)>,
    told: TlsConfig,
    /// As the files were before they were read.
    stamps: Stamps,
    authorities: Vec<CertificateDer<'static>>,
    /// What sessions are resumed by, whatever certificate they began with.
    tickets: Arc<dyn ProducesTickets>,
}

impl Identity {
    /// Reads what is told; sessions of `before` can be resumed, unless other clients are let in.
    pub(crate) fn read(told: &TlsConfig, before: Option<&Self>) -> Result<Self, String> {
        let stamps = Stamps::of(told);
        let provider = Arc::new(ring::default_provider());
        let mut certificates = Vec::new();
        let mut ends = Vec::new();
        for certificate in &told.certificates {
            let read = files::certificate(certificate, &provider)?;
            ends.push((certificate.chain.clone(), read.end));
            certificates.push(read);
        }
        if certificates.is_empty() {
            return Err("a listener with TLS needs a certificate".into());
        }
        let (verifier, authorities) = match &told.clients {
            None => (Arc::new(NoClientAuth) as Arc<_>, Vec::new()),
            Some(clients) => {
                let (roots, authorities) = files::authorities(&clients.authorities)?;
                let builder = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                );
                let builder =
                    if clients.required { builder } else { builder.allow_unauthenticated() };
                let verifier = builder
                    .build()
                    .map_err(|error| format!("'{}': {error}", clients.authorities.display()))?;
                (verifier, authorities)
            }
        };
        let same_clients = |before: &&Self| {
            before.authorities == authorities && before.told.clients == told.clients
        };
        let tickets = match before.filter(same_clients) {
            Some(before) => Arc::clone(&before.tickets),
            None => ring::Ticketer::new().map_err(|error| error.to_string())?,
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let by_name = Arc::new(ByName::new(certificates));
        let mut operators =
            builder.clone().with_no_client_auth().with_cert_resolver(by_name.clone());
        let mut clients = builder.with_client_cert_verifier(verifier).with_cert_resolver(by_name);
        clients.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        clients.ticketer = Arc::clone(&tickets);
        for config in [&mut clients, &mut operators] {
            // All that are left are good, and a scanner takes no order for a fault.
            config.ignore_client_order = true;
        }
        let (clients, operators, told) = (Arc::new(clients), Arc::new(operators), told.clone());
        Ok(Self { clients, operators, ends, told, stamps, authorities, tickets })
    }

    /// When each certificate ends, in seconds since 1970, by its file.
    pub(crate) fn ends(&self) -> Vec<(String, f64)> {
        let end =
            |(path, end): &(PathBuf, Duration)| (path.display().to_string(), end.as_secs_f64());
        self.ends.iter().map(end).collect()
    }

    /// The same with what its files say now, if one of them is different.
    pub(crate) fn read_again(&self) -> Option<Result<Self, String>> {
        let stamps = Stamps::of(&self.told);
        (stamps != self.stamps).then(|| Self::read(&self.told, Some(self)))
    }

    /// The same, and what its files say now is known to be of no use.
    pub(crate) fn kept(&self) -> Self {
        Self { stamps: Stamps::of(&self.told), ..self.clone() }
    }
}

impl CertificateConfig {
    /// Whether its files can be read and belong together.
    ///
    /// # Errors
    ///
    /// A sentence with the file's name.
    pub fn check(&self) -> Result<(), String> {
        files::certificate(self, &ring::default_provider()).map(drop)
    }
}

impl ClientsConfig {
    /// Whether its file can be read.
    ///
    /// # Errors
    ///
    /// A sentence with the file's name.
    pub fn check(&self) -> Result<(), String> {
        files::authorities(&self.authorities).map(drop)
    }
}
