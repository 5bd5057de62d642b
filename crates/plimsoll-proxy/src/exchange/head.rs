//! What is taken from a head, and what is put into it, on its way through.

use http_body::Body as _;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Request, Uri, Version};

use crate::front::{Asking, Client, Fault, check_fields, is_authority};
use crate::upstream::ToBackend;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// Fields that concern one connection alone, whoever names them (RFC 9110,
/// section 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Fields that `Connection` must not name: without them the message is another.
const END_TO_END: [HeaderName; 5] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    header::COOKIE,
];

/// What is there of the fields that need something done: one look at all costs
/// less than asking for each.
#[derive(Default)]
struct There {
    hosts: usize,
    cookies: usize,
    /// `Connection` says more than what nearly all say.
    names: bool,
    transfer_encoding: bool,
    /// Which of [`HOP_BY_HOP`], a bit each.
    hop_by_hop: u8,
    expect: bool,
    /// What says who a client has shown to be.
    certificates: usize,
    /// Names with `_`, which some backends take for `-`.
    underscored: usize,
}

impl There {
    fn in_head(headers: &HeaderMap) -> Self {
        let mut there = Self::default();
        for (name, value) in headers {
            if name == header::HOST {
                there.hosts += 1;
            } else if name == header::COOKIE {
                there.cookies += 1;
            } else if name == header::EXPECT {
                there.expect = true;
            } else if name == CLIENT_CERT || name == CLIENT_CERT_CHAIN {
                there.certificates += 1;
            } else if name.as_str().contains('_') {
                there.underscored += 1;
            } else if let Some(nth) = HOP_BY_HOP.iter().position(|hop| hop == name) {
                there.hop_by_hop |= 1 << nth;
                there.names |= name == header::CONNECTION && !is_plain(value);
                there.transfer_encoding |= name == header::TRANSFER_ENCODING;
            }
        }
        there
    }
}

/// Whether an option of `Connection` names no field.
fn is_plain(option: &HeaderValue) -> bool {
    matches!(option.as_bytes(), b"keep-alive" | b"close")
}

/// A request's head as backends get it.
pub(super) struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    has_host: bool,
    /// The protocol that it asks to switch to.
    upgrade: Option<HeaderValue>,
}

impl Outgoing {
    /// Makes a client's head a backend's.
    pub(super) fn new(
        mut head: Parts,
        asking: &Asking,
        limits: crate::config::Limits,
    ) -> Result<Self, Fault> {
        check(&head, limits)?;
        let uri = target(&head, limits)?;
        let there = There::in_head(&head.headers);
        let host = host(&head, &there)?;
        let headers = &mut head.headers;
        let upgrade = if asking.asks_upgrade() { headers.remove(header::UPGRADE) } else { None };
        strip(headers, &there);
        if there.expect {
            take_expect(headers)?;
        }
        if there.cookies > 1 {
            join_cookies(headers);
        }
        forward(headers, asking.client(), host.as_ref());
        vouch(headers, asking.client(), &there);
        add_via(headers, head.version);
        if let Some(token) = &upgrade {
            headers.insert(header::UPGRADE, token.clone());
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let has_host = host.is_some();
        if let Some(host) = host
            && head.uri.authority().is_some()
        {
            headers.insert(header::HOST, host);
        }
        Ok(Self { method: head.method, uri, headers: head.headers, has_host, upgrade })
    }

    /// The request for one try; `fallback` names the host where the client did
    /// not, as HTTP/1.0 allows.
    pub(super) fn request(
        &self,
        fallback: impl FnOnce() -> HeaderValue,
        body: ToBackend,
    ) -> Request<ToBackend> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if !self.has_host {
            request.headers_mut().insert(header::HOST, fallback());
        }
        if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
            // Else it would be sent without its body where the method seldom has one.
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
        }
        request
    }

    /// The host that is asked for, as it came; empty where the client names none.
    pub(super) fn host(&self) -> &str {
        self.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn asks_upgrade(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Whether it may run twice without harm (RFC 9110, section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent() && self.upgrade.is_none()
    }
}

/// Makes a backend's response head a client's; `switched` for a 101.
pub(super) fn incoming(headers: &mut HeaderMap, version: Version, switched: bool) {
    let token = switched.then(|| headers.remove(header::UPGRADE)).flatten();
    let there = There::in_head(headers);
    if there.transfer_encoding {
        // Chunks have said how long it is (RFC 9112, section 6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    strip(headers, &there);
    if let Some(token) = token {
        headers.insert(header::UPGRADE, token);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    add_via(headers, version);
}

/// What can be said of any version; HTTP/1's own is the screen's matter.
fn check(head: &Parts, limits: crate::config::Limits) -> Result<(), Fault> {
    if head.method == Method::CONNECT {
        return Err(Fault::new(405, "CONNECT is not served"));
    }
    if head.version == Version::HTTP_2 {
        check_fields(&head.headers)?;
        // hyper lets equal ones pass.
        if head.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
            return Err(Fault::new(400, "there are two Content-Length fields"));
        }
    }
    if head.headers.len() > limits.headers {
        return Err(Fault::new(431, "there are too many header fields"));
    }
    Ok(())
}

/// The target as backends get it: a path, or `*`, whatever form the client's has
/// (RFC 9112, section 3.2).
fn target(head: &Parts, limits: crate::config::Limits) -> Result<Uri, Fault> {
    const NO_PATH: Fault = Fault::new(400, "the target is not a path");
    let target = head.uri.path_and_query().ok_or(NO_PATH)?;
    let text = target.as_str();
    if text.len() > limits.target_bytes {
        return Err(Fault::new(414, "the target is too long"));
    }
    if !text.is_ascii() {
        // HTTP/2 lets UTF-8 in; a request line is ASCII (RFC 9112, section 3).
        return Err(Fault::new(400, "a target with a byte outside ASCII"));
    }
    match text.as_bytes() {
        [b'/', ..] => Ok(target.clone().into()),
        b"*" if head.method == Method::OPTIONS => Ok(target.clone().into()),
        // In absolute form the path may be left out.
        [b'?', ..] if head.uri.authority().is_some() && head.version < Version::HTTP_2 => {
            format!("/{text}").parse().map_err(|_| NO_PATH)
        }
        _ => Err(NO_PATH),
    }
}

/// The host that the request is for: the target's authority, else `Host`; they
/// must not differ.
fn host(head: &Parts, there: &There) -> Result<Option<HeaderValue>, Fault> {
    let fault = |what| Fault::new(400, what);
    if there.hosts > 1 {
        return Err(fault("there are two Host fields"));
    }
    let host = head.headers.get(header::HOST);
    let host = match head.uri.authority().map(Authority::as_str) {
        None => host.cloned(),
        Some(authority) => {
            let same =
                |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
            if !host.is_none_or(same) {
                return Err(fault("Host and the target's authority differ"));
            }
            let named = HeaderValue::from_str(authority);
            Some(named.map_err(|_| fault("the authority is malformed"))?)
        }
    };
    // Of HTTP/1's the screen has seen to it.
    let seen = head.version < Version::HTTP_2 && head.uri.authority().is_none();
    match &host {
        None if head.version >= Version::HTTP_11 => Err(fault("there is no host")),
        Some(host) if !seen && !is_authority(host.as_bytes()) => {
            Err(fault("the host is malformed"))
        }
        _ => Ok(host),
    }
}

/// Removes what is answered on this side: when the backend begins to read, or not
/// at all on HTTP/2, where hyper sends no 100; clients need not wait for it (RFC 9110,
/// section 10.1.1).
fn take_expect(headers: &mut HeaderMap) -> Result<(), Fault> {
    let mut expected = headers.get_all(header::EXPECT).iter();
    if !expected.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Fault::new(417, "an Expect other than 100-continue"));
    }
    headers.remove(header::EXPECT);
    Ok(())
}

/// Removes what concerns one connection alone, and what `Connection` names.
fn strip(headers: &mut HeaderMap, there: &There) {
    if there.names {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|option| option.as_bytes().split(|&byte| byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| !END_TO_END.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for (nth, name) in HOP_BY_HOP.iter().enumerate() {
        if there.hop_by_hop & 1 << nth != 0 {
            headers.remove(name);
        }
    }
}

/// Says for whom the request is sent. What an untrusted peer says of that is
/// dropped.
fn forward(headers: &mut HeaderMap, client: &Client, host: Option<&HeaderValue>) {
    let trusted = client.is_trusted;
    let mut chain = client.forwarded_for.clone();
    if trusted && headers.contains_key(FORWARDED_FOR) {
        let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let parts: Vec<_> = before.chain(chain.to_str()).collect();
        chain = HeaderValue::from_str(&parts.join(", ")).unwrap_or(chain);
    }
    headers.insert(FORWARDED_FOR, chain);
    if !trusted || !headers.contains_key(FORWARDED_PROTO) {
        let scheme = if client.tls { "https" } else { "http" };
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    match host {
        _ if trusted && headers.contains_key(FORWARDED_HOST) => {}
        Some(host) => _ = headers.insert(FORWARDED_HOST, host.clone()),
        None => _ = headers.remove(FORWARDED_HOST),
    }
}

/// Says who the client has shown to be (RFC 9440), which nobody else may say.
fn vouch(headers: &mut HeaderMap, client: &Client, there: &There) {
    if there.certificates > 0 && !client.is_trusted {
        headers.remove(CLIENT_CERT);
        headers.remove(CLIENT_CERT_CHAIN);
    }
    if there.underscored > 0 && !client.is_trusted {
        let ours = [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST, CLIENT_CERT, CLIENT_CERT_CHAIN];
        let passes_for = |name: &&HeaderName| {
            let name = name.as_str();
            name.contains('_') && ours.iter().any(|own| own.as_str() == name.replace('_', "-"))
        };
        let others: Vec<_> = headers.keys().filter(passes_for).cloned().collect();
        for name in others {
            headers.remove(name);
        }
    }
    if let Some(certificate) = &client.certificate {
        headers.remove(CLIENT_CERT_CHAIN);
        headers.insert(CLIENT_CERT, certificate.clone());
    }
}

/// HTTP/2 may send each cookie by itself (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
    if crumbs.len() > 1 {
        let crumbs: Vec<_> = crumbs.into_iter().map(HeaderValue::as_bytes).collect();
        if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(header::COOKIE, whole);
        }
    }
}

/// RFC 9110, section 7.6.3.
fn add_via(headers: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_2 => "2.0 plimsoll",
        Version::HTTP_10 => "1.0 plimsoll",
        _ => "1.1 plimsoll",
    };
    headers.append(header::VIA, HeaderValue::from_static(via));
}
