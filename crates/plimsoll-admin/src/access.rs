//! Who may look and steer.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use hyper::HeaderMap;
use hyper::header;
use subtle::ConstantTimeEq;

/// The most bytes that a token has.
const LONGEST: u64 = 4096;

/// What who asks must show. It is never shown itself.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl Token {
    /// The one in a file; an end of line behind it is none of it.
    ///
    /// A file that everybody on the machine may read is refused, since then everybody may steer. Its
    /// group may read it: so a service that owns nothing gets its secrets.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and what would be right.
    ///
    /// ```
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// let file = std::env::temp_dir().join(format!("token-{}", std::process::id()));
    /// std::fs::write(&file, "open sesame!\n")?;
    /// std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600))?;
    /// let error = plimsoll_admin::Token::read(&file).unwrap_err();
    /// assert!(error.contains("visible letters without spaces"), "{error}");
    /// std::fs::write(&file, "f3c6a81e09\n")?;
    /// assert!(plimsoll_admin::Token::read(&file).is_ok());
    /// std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644))?;
    /// assert!(plimsoll_admin::Token::read(&file).unwrap_err().contains("chmod o="));
    /// std::fs::remove_file(&file)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mode = file.metadata().map_err(|error| error.to_string())?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err("everybody may read or write it: chmod o= makes it a secret".into());
        }
        let mut text = Vec::new();
        let read = file.take(LONGEST + 1).read_to_end(&mut text);
        read.map_err(|error| error.to_string())?;
        while text.last().is_some_and(|end| b"\r\n".contains(end)) {
            text.pop();
        }
        if text.is_empty() {
            return Err("it is empty: it has a token, such as openssl rand -hex 32 makes".into());
        }
        if text.len() as u64 > LONGEST || !text.iter().all(u8::is_ascii_graphic) {
            return Err(format!(
                "it has a token alone, up to {LONGEST} visible letters without spaces, such as \
                 openssl rand -hex 32 makes"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Whose requests are heard: everybody's, until there is a token. Clones are the same one.
///
/// ```
/// let access = plimsoll_admin::Access::default();
/// access.set(None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<RwLock<Option<Token>>>);

impl Access {
    /// Asks for this token from now on, or for none.
    pub fn set(&self, token: Option<Token>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Whether this is the request of one who has the token. How much of a wrong one was right is
    /// not told by the time that it takes.
    pub(crate) fn allows(&self, headers: &HeaderMap) -> bool {
        let token = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Token(token)) = &*token else { return true };
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else { return false };
        let Some((scheme, shown)) = shown.as_bytes().split_first_chunk::<7>() else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(shown.ct_eq(token))
    }
}

/// Whether only this machine reaches this address.
///
/// ```
/// assert!(plimsoll_admin::is_near("[::1]:9900".parse()?));
/// assert!(!plimsoll_admin::is_near("10.0.0.1:9900".parse()?));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn is_near(at: SocketAddr) -> bool {
    at.ip().to_canonical().is_loopback()
}

/// Whether operators may be heard at this address.
///
/// # Errors
///
/// What would be right.
///
/// ```
/// use plimsoll_admin::may_listen;
///
/// assert!(may_listen("127.0.0.1:9900".parse()?, false, false).is_ok());
/// assert!(may_listen("[::]:9900".parse()?, true, false).is_err());
/// assert!(may_listen("[::]:9900".parse()?, true, true).is_ok());
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn may_listen(at: SocketAddr, has_token: bool, has_tls: bool) -> Result<(), String> {
    if is_near(at) || has_token && has_tls {
        return Ok(());
    }
    let needs = match (has_token, has_tls) {
        (false, false) => "a token (admin_token_file) and TLS",
        (false, true) => "a token (admin_token_file)",
        (true, _) => "TLS, without which its token could be read on the way",
    };
    Err(format!(
        "others than this machine can reach it, and for that it needs {needs}; 127.0.0.1 and [::1] \
         need neither"
    ))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn only_who_shows_the_token_is_heard() {
        let access = Access::default();
        let shows = |access: &Access, values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            access.allows(&headers)
        };
        assert!(shows(&access, &[]));
        access.set(Some(Token(b"right".as_slice().into())));
        assert!(shows(&access, &["Bearer right"]) && shows(&access, &["bearer right"]));
        for wrong in
            ["Bearer wrong", "Bearer righ", "Bearer right ", "Bearer", "right", "Basic right"]
        {
            assert!(!shows(&access, &[wrong]), "{wrong}");
        }
        assert!(!shows(&access, &[]) && !shows(&access, &["Bearer right", "Bearer right"]));
        access.set(None);
        assert!(shows(&access, &[]));
    }
}
