//! Listeners with TLS: who is shown which certificate, what is told of it, and that all the rest
//! is as without.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};

use crate::authority::{Authority, Files};
use crate::backend::{Backend, Then, respond, say};
use crate::proxy::Proxy;
use crate::wire::Wire;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// A client that believes this authority, with a certificate of its own or none.
pub(crate) fn client(
    authority: &Authority,
    own: Option<&[String; 2]>,
    protocols: &[&str],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some([chain, key]) => {
            let chain = vec![CertificateDer::from_pem_file(chain).unwrap()];
            let key = PrivateKeyDer::from_pem_file(key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn certificate([chain, key]: &[String; 2]) -> String {
    format!("{chain},key={key}")
}

/// The proxy in TLS over this backend, with these certificates.
fn secure(backend: &Backend, certificates: &[&[String; 2]], options: &[&str]) -> Proxy {
    let to = backend.address.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["serve", "--tls-listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--to", &to]);
    for pair in certificates {
        command.args(["--certificate", &certificate(pair)]);
    }
    command.args(options);
    Proxy::start(command)
}

/// The certificate that a client is shown that asks for this name.
fn shown(at: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let mut wire = Wire::secure(at, name, Arc::clone(config));
    let tls = wire.handshake().unwrap();
    tls.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn requests_come_in_tls_and_backends_are_told_so() {
    let (files, authority) = (Files::new(), Authority::new());
    let backend = Backend::says("hello");
    let proxy = secure(&backend, &[&authority.sign(&files, "site", &["example.com"])], &[]);
    let config = client(&authority, None, &[]);
    let mut wire = Wire::secure(proxy.address, "example.com", config);
    for _ in 0..3 {
        wire.send("GET / HTTP/1.1\r\nHost: example.com\r\nClient-Cert: :eA==:\r\n\r\n");
        assert_eq!(wire.response().text(), "hello");
    }
    let seen = backend.seen();
    assert_eq!(seen[0].field("x-forwarded-proto"), Some("https"));
    assert_eq!(seen[0].field("client-cert"), None, "nobody has looked at one");
    wire.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(wire.response().status, 200);
    assert!(wire.is_closed(), "it says so before it goes");
    drop(wire);
    proxy.finish();
}

#[test]
fn a_protocol_is_agreed_on() {
    let (files, authority) = (Files::new(), Authority::new());
    let backend = Backend::says("hello");
    let proxy = secure(&backend, &[&authority.sign(&files, "site", &["localhost"])], &[]);
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut wire = Wire::secure(proxy.address, "localhost", client(&authority, None, offered));
        assert_eq!(wire.handshake().unwrap().alpn_protocol(), agreed);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(client(&authority, None, &["h2"]));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let driven = tokio::spawn(connection);
        for _ in 0..20 {
            let request = Request::get("https://localhost/").body(Full::<Bytes>::default());
            let response = sender.send_request(request.unwrap()).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
        }
        drop(sender);
        driven.await.unwrap().unwrap();
    });
    proxy.finish();
}

#[test]
fn a_name_has_its_certificate() {
    let (files, authority) = (Files::new(), Authority::new());
    let first = authority.sign(&files, "first", &["first.test", "also.first.test"]);
    let wild = authority.sign(&files, "wild", &["*.Wild.test"]);
    let one = authority.sign(&files, "one", &["one.wild.test"]);
    let backend = Backend::says("x");
    let proxy = secure(&backend, &[&first, &wild, &one], &[]);
    let config = client(&authority, None, &[]);
    for (name, [expected, _]) in [
        ("first.test", &first),
        ("also.first.test", &first),
        ("two.wild.test", &wild),
        ("ONE.wild.test", &one),
        // Those without a name get the first.
        ("127.0.0.1", &first),
    ] {
        let expected = CertificateDer::from_pem_file(expected).unwrap();
        assert_eq!(shown(proxy.address, name, &config), expected, "{name}");
    }
    // The first, which is for other names, as its client finds.
    for name in ["wild.test", "a.b.wild.test", "elsewhere.test"] {
        let mut wire = Wire::secure(proxy.address, name, Arc::clone(&config));
        assert!(wire.handshake().unwrap_err().contains("not valid for name"));
    }
    proxy.finish();
}

#[test]
fn a_certificate_is_renewed_while_it_serves() {
    let (files, authority) = (Files::new(), Authority::new());
    let site = authority.sign(&files, "site", &["localhost"]);
    let backend = Backend::says("x");
    let proxy = secure(&backend, &[&site], &[]);
    let config = client(&authority, None, &[]);
    let mut before = Wire::secure(proxy.address, "localhost", Arc::clone(&config));
    before.send(GET);
    assert_eq!(before.response().status, 200);
    let old = CertificateDer::from_pem_file(&site[0]).unwrap();
    // Of no use: the one before is served.
    let key = fs::read(&site[1]).unwrap();
    fs::write(&site[1], "nothing").unwrap();
    proxy.until("it says so", |proxy| {
        let what = format!("certificates are not renewed: '{}': there is no private key", site[1]);
        proxy.said().contains(&what)
    });
    assert_eq!(shown(proxy.address, "localhost", &config), old);
    fs::write(&site[1], key).unwrap();
    proxy.until("it is as before", |proxy| proxy.said().contains("certificates are renewed"));
    authority.sign(&files, "site", &["localhost"]);
    let new = CertificateDer::from_pem_file(&site[0]).unwrap();
    let fresh = client(&authority, None, &[]);
    proxy.until("the new one is shown", |proxy| shown(proxy.address, "localhost", &fresh) == new);
    before.send(GET);
    assert_eq!(before.response().status, 200, "a connection goes on");
    drop(before);
    proxy.finish();
}

#[test]
fn one_certificate_of_no_use_keeps_no_other_from_being_renewed() {
    let (files, authority) = (Files::new(), Authority::new());
    let broken = authority.sign(&files, "broken", &["broken.test"]);
    let site = authority.sign(&files, "site", &["localhost"]);
    let backend = Backend::says("x");
    let proxy = secure(&backend, &[&broken, &site], &[]);
    let config = client(&authority, None, &[]);
    let before = shown(proxy.address, "broken.test", &config);
    fs::write(&broken[0], "nothing").unwrap();
    authority.sign(&files, "site", &["localhost"]);
    let new = CertificateDer::from_pem_file(&site[0]).unwrap();
    let fresh = client(&authority, None, &[]);
    proxy.until("the new one is shown", |proxy| shown(proxy.address, "localhost", &fresh) == new);
    let what = format!("not renewed: '{}': there is no certificate in it", broken[0]);
    assert!(proxy.said().contains(&what), "{}", proxy.said());
    assert_eq!(shown(proxy.address, "broken.test", &fresh), before);
    proxy.finish();
}

/// Nor does a file of authorities, and those before are believed.
#[test]
fn authorities_of_no_use_keep_no_certificate_from_being_renewed() {
    let (files, authority) = (Files::new(), Authority::new());
    let site = authority.sign(&files, "site", &["localhost"]);
    let own = authority.sign(&files, "own", &["client"]);
    let ca = files.file("ca.pem", &authority.certificate.pem());
    let backend = Backend::says("x");
    let proxy = secure(&backend, &[&site], &["--client-ca", &ca]);
    fs::write(&ca, "nothing").unwrap();
    let what = format!("not renewed: '{ca}': there is no certificate in it");
    proxy.until("it says so", |proxy| proxy.said().contains(&what));
    authority.sign(&files, "site", &["localhost"]);
    let new = CertificateDer::from_pem_file(&site[0]).unwrap();
    let config = client(&authority, Some(&own), &[]);
    proxy.until("the new one is shown", |proxy| shown(proxy.address, "localhost", &config) == new);
    let mut wire = Wire::secure(proxy.address, "localhost", config);
    wire.send(GET);
    assert_eq!(wire.response().status, 200);
    let mut without = Wire::secure(proxy.address, "localhost", client(&authority, None, &[]));
    // In TLS 1.3 it is the answer that is missing.
    let asks = without.handshake().is_ok() && without.try_send(GET);
    assert!(!asks || without.try_answer().is_none());
    drop((wire, without));
    proxy.finish();
}

#[test]
fn clients_show_certificates() {
    let (files, ours, others) = (Files::new(), Authority::new(), Authority::new());
    let site = ours.sign(&files, "site", &["localhost"]);
    let right = ours.sign(&files, "right", &["client"]);
    let wrong = others.sign(&files, "wrong", &["client"]);
    let ca = files.file("ca.pem", &ours.certificate.pem());
    let backend = Backend::says("x");
    for (rule, without) in [("required", false), ("optional", true)] {
        let options = ["--client-ca", &ca, "--client-certificate", rule];
        let proxy = secure(&backend, &[&site], &options);
        let serves = |own: Option<&[String; 2]>| {
            let config = client(&ours, own, &[]);
            let mut wire = Wire::secure(proxy.address, "localhost", config);
            // In TLS 1.3 it is the answer that is missing.
            wire.handshake().is_ok()
                && wire.try_send("GET / HTTP/1.1\r\nHost: x\r\nClient-Cert: :eA==:\r\n\r\n")
                && wire.try_answer().is_some_and(|answer| answer.status == 200)
        };
        let seen = backend.seen().len();
        assert!(serves(Some(&right)));
        let sent = backend.seen()[seen].field("client-cert").unwrap().to_owned();
        let own = CertificateDer::from_pem_file(&right[0]).unwrap();
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, own);
        assert_eq!(sent, format!(":{encoded}:"));
        assert_eq!(serves(None), without, "{rule}");
        assert!(!serves(Some(&wrong)));
        proxy.finish();
    }
}

#[test]
fn sessions_are_resumed_unless_other_clients_are_let_in() {
    let (files, authority) = (Files::new(), Authority::new());
    let site = authority.sign(&files, "site", &["localhost"]);
    let ca = files.file("ca.pem", &authority.certificate.pem());
    let backend = Backend::says("x");
    let pool = format!(
        "tls_listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\ncertificate = [\"{}\"]\n",
        certificate(&site)
    );
    let to = format!("[pool.web]\nto = [\"{}\"]\n", backend.address);
    let proxy = Proxy::told_whole(&[&pool[..], &to].concat());
    let own = authority.sign(&files, "own", &["client"]);
    let config = client(&authority, Some(&own), &[]);
    let kind = || {
        let mut wire = Wire::secure(proxy.address, "localhost", Arc::clone(&config));
        wire.send(GET);
        // With it comes what the next is resumed by.
        assert_eq!(wire.response().status, 200);
        wire.handshake().unwrap().handshake_kind().unwrap()
    };
    assert_eq!(kind(), HandshakeKind::Full);
    assert_eq!(kind(), HandshakeKind::Resumed);
    authority.sign(&files, "site", &["localhost"]);
    assert_eq!(proxy.reload().0, 200);
    assert_eq!(kind(), HandshakeKind::Resumed, "renewed");
    proxy.write_whole(&format!("{pool}client_ca = \"{ca}\"\n{to}"));
    assert_eq!(proxy.reload().0, 200);
    assert_ne!(kind(), HandshakeKind::Resumed, "without a look at its certificate");
    let own = backend.seen().last().unwrap().field("client-cert").unwrap().to_owned();
    assert_eq!(kind(), HandshakeKind::Resumed);
    assert_eq!(backend.seen().last().unwrap().field("client-cert"), Some(&*own));
    // Who is let in by another rule shows it anew.
    let optional = "client_certificate = \"optional\"\n";
    proxy.write_whole(&format!("{pool}client_ca = \"{ca}\"\n{optional}{to}"));
    assert_eq!(proxy.reload().0, 200);
    assert_ne!(kind(), HandshakeKind::Resumed);
    proxy.finish();
}

#[test]
fn what_is_no_handshake_ends_in_time() {
    let (files, authority) = (Files::new(), Authority::new());
    let backend = Backend::says("x");
    let site = authority.sign(&files, "site", &["localhost"]);
    let proxy = secure(&backend, &[&site], &["--header-timeout", "0.3"]);
    let mut plain = Wire::connect(proxy.address);
    plain.send(GET);
    let answer = plain.response();
    assert_eq!(
        (answer.status, answer.text()),
        (400, "400 this port speaks TLS: ask it with https://")
    );
    assert!(plain.is_closed());
    let mut noise = Wire::connect(proxy.address);
    noise.send([22, 3, 1, 0, 2, 9, 9]);
    noise.until_closed();
    // The first byte alone, nothing, and one that leaves.
    let mut slow = Wire::connect(proxy.address);
    slow.send([22]);
    let mut silent = Wire::connect(proxy.address);
    drop(Wire::connect(proxy.address));
    assert!(slow.is_closed() && silent.is_closed());
    proxy.until("all are counted", |proxy| proxy.workers()["failed_handshakes"] == 5);
    // Those who speak it are served, meanwhile as ever.
    let mut wire = Wire::secure(proxy.address, "localhost", client(&authority, None, &[]));
    wire.send(GET);
    assert_eq!(wire.response().status, 200);
    drop(wire);
    proxy.finish();
}

#[test]
fn large_bodies_pass_both_ways() {
    let (files, authority) = (Files::new(), Authority::new());
    let body: Vec<u8> =
        (0..3_000_000_u32).map(|nth| nth.to_le_bytes()[usize::from(nth % 2 == 0)]).collect();
    let back = body.clone();
    let backend = Backend::start(move |seen, stream| {
        assert!(seen.whole && seen.body == back);
        respond(stream, &back)
    });
    let proxy = secure(&backend, &[&authority.sign(&files, "site", &["localhost"])], &[]);
    let mut wire = Wire::secure(proxy.address, "localhost", client(&authority, None, &[]));
    for _ in 0..2 {
        wire.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()));
        wire.send(&body);
        let answer = wire.response();
        assert!(answer.whole && answer.body == body);
    }
    drop(wire);
    proxy.finish();
}

#[test]
fn a_client_that_reads_nothing_or_leaves_holds_no_place() {
    let (files, authority) = (Files::new(), Authority::new());
    let body = vec![b'x'; 64 << 20];
    let backend = Backend::start(move |_, stream| respond(stream, &body));
    let site = authority.sign(&files, "site", &["localhost"]);
    let proxy = secure(&backend, &[&site], &["--body-timeout", "0.5"]);
    let config = client(&authority, None, &[]);
    let mut stays = Wire::secure(proxy.address, "localhost", Arc::clone(&config));
    stays.send(GET);
    let mut leaves = Wire::secure(proxy.address, "localhost", config);
    leaves.send(GET);
    proxy.until("both are answered", |proxy| proxy.pending() == 2);
    drop(leaves);
    proxy.until("one has left, the other did not read", |proxy| proxy.pending() == 0);
    drop(stays);
    proxy.finish();
}

/// Whether it is whole is told by chunks, or by the end of the connection alone.
#[test]
fn an_answer_that_breaks_off_does_not_end_as_others_do() {
    let (files, authority) = (Files::new(), Authority::new());
    let backend = Backend::start(|seen, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        if seen.target() == "/broken" { Then::Close } else { say(stream, b"0\r\n\r\n") }
    });
    let proxy = secure(&backend, &[&authority.sign(&files, "site", &["localhost"])], &[]);
    let config = client(&authority, None, &[]);
    for version in ["1.0", "1.1"] {
        for (target, is_whole) in [("/", true), ("/broken", false)] {
            let mut wire = Wire::secure(proxy.address, "localhost", Arc::clone(&config));
            let head =
                format!("GET {target} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n");
            wire.send(head);
            assert_eq!(wire.ends_cleanly(), is_whole, "{target} {version}");
        }
    }
    proxy.finish();
}

#[test]
fn a_connection_rests_and_goes_on() {
    let (files, authority) = (Files::new(), Authority::new());
    let backend = Backend::says("x");
    let proxy = secure(&backend, &[&authority.sign(&files, "site", &["localhost"])], &[]);
    let mut wire = Wire::secure(proxy.address, "localhost", client(&authority, None, &[]));
    for _ in 0..2 {
        wire.send(GET);
        assert_eq!(wire.response().status, 200);
        // Longer than until its buffers are let go of.
        thread::sleep(Duration::from_millis(1300));
    }
    // Two at once, and a body that comes in parts.
    wire.send([GET, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1"].concat());
    assert_eq!(wire.response().status, 200);
    wire.send("2");
    assert_eq!(wire.response().status, 200);
    drop(wire);
    proxy.finish();
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_told_that_it_ends() {
    let (files, authority) = (Files::new(), Authority::new());
    let backend = Backend::says("x");
    let site = authority.sign(&files, "site", &["localhost"]);
    // Before it rests, and after.
    for idle in ["0.3", "1.5"] {
        let proxy = secure(&backend, &[&site], &["--idle-timeout", idle]);
        let config = client(&authority, None, &[]);
        let mut wire = Wire::secure(proxy.address, "localhost", config);
        wire.send(GET);
        assert_eq!(wire.response().status, 200);
        assert!(wire.is_closed(), "it would fail by an end without a word");
        drop(wire);
        proxy.finish();
    }
}

#[test]
fn what_cannot_be_is_said_at_once() {
    let (files, authority) = (Files::new(), Authority::new());
    let site = authority.sign(&files, "site", &["localhost"]);
    let other = authority.sign(&files, "other", &["localhost"]);
    let empty = files.file("empty.pem", "");
    let both = files.file(
        "both.pem",
        &(fs::read_to_string(&site[0]).unwrap() + &fs::read_to_string(&site[1]).unwrap()),
    );
    let said = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(["serve", "--to", "127.0.0.1:9"]).args(words);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let tls = ["--tls-listen", "127.0.0.1:0"];
    let with = |words: &[&str]| said(&[&tls[..], words].concat());
    assert_eq!(
        said(&tls),
        "plimsoll: --tls-listen: it needs a certificate, such as \"site.pem\"\n"
    );
    let plain = ["--listen", "127.0.0.1:0", "--certificate", &both];
    assert_eq!(said(&plain), "plimsoll: --certificate: nothing listens for TLS: tell tls_listen\n");
    let mixed = certificate(&[site[0].clone(), other[1].clone()]);
    for (told, expected) in [
        ("/nowhere.pem", "'/nowhere.pem': No such file or directory".to_owned()),
        (&empty, format!("'{empty}': there is no certificate in it, in PEM")),
        (&site[0], format!("'{}': there is no private key in it, in PEM", site[0])),
        (&mixed, format!("'{}': it is not the key of '{}'", other[1], site[0])),
        (",key=x", "it is FILE[,key=FILE], such as site.pem,key=site.key".into()),
    ] {
        let said = with(&["--certificate", told]);
        assert!(said.contains(&expected), "{said}");
    }
    let rule = with(&["--certificate", &both, "--client-certificate", "optional"]);
    assert_eq!(rule, "plimsoll: --client-certificate: nobody is asked for one: tell client_ca\n");
    let ca = with(&["--certificate", &both, "--client-ca", &empty]);
    assert!(ca.starts_with("plimsoll: --client-ca: "), "{ca}");
}
