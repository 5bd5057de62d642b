//! Which certificate a client is shown: one for the name that it asks for.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::Certified;

#[derive(Debug)]
pub(super) struct ByName {
    /// In the order that they were told in: a name may have several, with keys of several kinds.
    all: Vec<Arc<CertifiedKey>>,
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    pub(super) fn new(certificates: &[Arc<Certified>]) -> Self {
        let mut by_name: HashMap<String, Vec<_>> = HashMap::new();
        let mut all = Vec::new();
        for certified in certificates {
            let key = &certified.key;
            for name in &certified.names {
                by_name.entry(name.clone()).or_default().push(Arc::clone(key));
            }
            all.push(Arc::clone(key));
        }
        Self { all, by_name }
    }

    /// Those for a name, or else all.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let wild = |name: &str| {
            let (_, rest) = name.split_once('.')?;
            self.by_name.get(&format!("*.{rest}"))
        };
        let named = name.and_then(|name| self.by_name.get(name).or_else(|| wild(name)));
        named.unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for ByName {
    /// The first for the name whose key the client understands; for a name that none is for, or no
    /// name, the first of all.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fit = |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(schemes).is_some();
        self.of(hello.server_name()).iter().find(fit).cloned()
    }
}
