//! What listeners with TLS are served by: certificates, and who may connect with one of its own.

mod files;
mod names;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ProducesTickets, WebPkiClientVerifier};

use self::files::{Certified, Stamps};
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
    told: TlsConfig,
    certified: Vec<Arc<Certified>>,
    /// As the files were before they were read.
    stamps: Stamps,
    admission: Admission,
    /// What sessions are resumed by, whatever certificate they began with.
    tickets: Arc<dyn ProducesTickets>,
}

/// Who may connect, as the file was read last.
#[derive(Clone)]
struct Admission {
    verifier: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Admission {
    fn read(told: Option<&ClientsConfig>) -> Result<Self, String> {
        let Some(clients) = told else {
            return Ok(Self { verifier: Arc::new(NoClientAuth), authorities: Vec::new() });
        };
        let (roots, authorities) = files::authorities(&clients.authorities)?;
        let provider = Arc::new(ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
        let verifier = builder
            .build()
            .map_err(|error| format!("'{}': {error}", clients.authorities.display()))?;
        Ok(Self { verifier, authorities })
    }
}

impl Identity {
    /// Reads what is told; sessions of `before` can be resumed, unless other clients are let in.
    pub(crate) fn read(told: &TlsConfig, before: Option<&Self>) -> Result<Self, String> {
        let stamps = Stamps::of(told);
        let provider = ring::default_provider();
        let read = |certificate| files::certificate(certificate, &provider).map(Arc::new);
        let certified = told.certificates.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if certified.is_empty() {
            return Err("a listener with TLS needs a certificate".into());
        }
        let admission = Admission::read(told.clients.as_ref())?;
        Self::with(told, certified, admission, stamps, before)
    }

    /// By these certificates, in the order that they are told in.
    fn with(
        told: &TlsConfig,
        certified: Vec<Arc<Certified>>,
        admission: Admission,
        stamps: Stamps,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let same_clients = |before: &&Self| {
            before.admission.authorities == admission.authorities
                && before.told.clients == told.clients
        };
        let tickets = match before.filter(same_clients) {
            Some(before) => Arc::clone(&before.tickets),
            None => ring::Ticketer::new().map_err(|error| error.to_string())?,
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let by_name = Arc::new(ByName::new(&certified));
        let mut operators =
            builder.clone().with_no_client_auth().with_cert_resolver(by_name.clone());
        let verifier = Arc::clone(&admission.verifier);
        let mut clients = builder.with_client_cert_verifier(verifier).with_cert_resolver(by_name);
        clients.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        clients.ticketer = Arc::clone(&tickets);
        for config in [&mut clients, &mut operators] {
            // All that are left are good, and a scanner takes no order for a fault.
            config.ignore_client_order = true;
        }
        let (clients, operators, told) = (Arc::new(clients), Arc::new(operators), told.clone());
        Ok(Self { clients, operators, told, certified, stamps, admission, tickets })
    }

    /// When each certificate ends, in seconds since 1970, by its file.
    pub(crate) fn ends(&self) -> Vec<(String, f64)> {
        let pairs = self.told.certificates.iter().zip(&self.certified);
        let end = |(told, read): (&CertificateConfig, &Arc<Certified>)| {
            (told.chain.display().to_string(), read.end.as_secs_f64())
        };
        pairs.map(end).collect()
    }

    /// The same with what its files say now, if one of them is different: what is of no use stays as
    /// it was served before, and a sentence says so.
    pub(crate) fn read_again(&self) -> Option<(Self, Result<(), String>)> {
        // Before anything is read: what changes meanwhile is seen the next time.
        let stamps = Stamps::of(&self.told);
        if stamps == self.stamps {
            return None;
        }
        let provider = ring::default_provider();
        let mut wrong = Vec::new();
        let pairs = self.told.certificates.iter().zip(&self.certified);
        let certified = pairs.map(|(told, before)| match files::certificate(told, &provider) {
            Ok(read) => Arc::new(read),
            Err(sentence) => {
                wrong.push(sentence);
                Arc::clone(before)
            }
        });
        let certified = certified.collect();
        let admission = Admission::read(self.told.clients.as_ref()).unwrap_or_else(|sentence| {
            wrong.push(sentence);
            self.admission.clone()
        });
        let renewed = Self::with(&self.told, certified, admission, stamps.clone(), Some(self));
        let renewed = renewed.unwrap_or_else(|sentence| {
            wrong.push(sentence);
            Self { stamps, ..self.clone() }
        });
        Some((renewed, if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }))
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
