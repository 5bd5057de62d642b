//! Who may connect, and by what: each option against a server that wants just that.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::authority::{Authority, Files};
use crate::program::finish;
use crate::server::Server;

/// Asks with these options: connected if nobody serves, and what is said if not.
fn asked(server: &Server, words: &[&str]) -> Result<(), String> {
    let mut command =
        server.command(&[&["request", "work", "--file", "/dev/null"], words].concat());
    let done = finish(command.spawn().unwrap()).expect(1);
    if done.stderr.contains("nobody serves work") { Ok(()) } else { Err(done.stderr) }
}

#[test]
fn a_token_a_password_or_an_nkey() {
    let files = Files::new();
    let key = KeyPair::new_user();
    let right = files.file("right", "right\n");
    let wrong = files.file("wrong", "wrong\n");
    let seed = files.file("seed", &format!("{}\n", key.seed().unwrap()));
    let other = files.file("other", &KeyPair::new_user().seed().unwrap());
    let nkey = format!("users: [ {{ nkey: {} }} ]", key.public_key());
    let cases: [(&str, &[&str], &[&str]); 3] = [
        ("token: right", &["--token-file", &right], &["--token-file", &wrong]),
        (
            "user: me, password: right",
            &["--user", "me", "--password-file", &right],
            &["--user", "me", "--password-file", &wrong],
        ),
        (&nkey, &["--nkey", &seed], &["--nkey", &other]),
    ];
    for (authorization, right, wrong) in cases {
        let server = Server::with(&format!("authorization {{ {authorization} }}"));
        assert_eq!(asked(&server, right), Ok(()), "{authorization}");
        for words in [wrong, &[]] {
            let told = asked(&server, words).unwrap_err();
            assert!(told.contains("authorization violation"), "{words:?}: {told}");
        }
    }
}

/// A token of NATS, which `signer` signs.
fn jwt(signer: &KeyPair, of: &KeyPair, name: &str, nats: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = json!({
        "jti": name, "iat": 1_764_000_000, "iss": signer.public_key(), "sub": of.public_key(),
        "name": name, "nats": nats,
    });
    let text = format!("{head}.{}", part(&claims));
    let signature = signer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn creds(jwt: &str, user: &KeyPair) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().unwrap()
    )
}

#[test]
fn credentials_of_an_operators_account() {
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_account());
    let own = jwt(&operator, &operator, "o", &json!({ "type": "operator", "version": 2 }));
    let no_limit = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1,
    });
    let of_account = json!({ "type": "account", "version": 2, "limits": no_limit });
    let of_account = jwt(&operator, &account, "a", &of_account);
    let server = Server::with(&format!(
        "operator: \"{own}\"\nresolver: MEMORY\nresolver_preload: {{ {}: \"{of_account}\" }}",
        account.public_key()
    ));
    let files = Files::new();
    let of_user = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let right = files.file("right", &creds(&jwt(&account, &user, "u", &of_user), &user));
    let wrong = files.file("wrong", &creds(&jwt(&stranger, &user, "u", &of_user), &user));
    assert_eq!(asked(&server, &["--creds", &right]), Ok(()));
    let told = asked(&server, &["--creds", &wrong]).unwrap_err();
    assert!(told.contains("authorization violation"), "{told}");
}

#[test]
fn tls_with_an_authority_and_certificates_of_both() {
    let files = Files::new();
    let (ours, others) = (Authority::new(), Authority::new());
    let ca = files.file("ca.pem", &ours.certificate.pem());
    let other_ca = files.file("other.pem", &others.certificate.pem());
    let [server_cert, server_key] = ours.sign(&files, "server", &[]);
    let [cert, key] = ours.sign(&files, "client", &[]);
    let [other_cert, other_key] = others.sign(&files, "stranger", &[]);
    let tls = |more: &str| {
        Server::with(&format!(
            "tls {{ cert_file: \"{server_cert}\", key_file: \"{server_key}\", ca_file: \"{ca}\"{more} }}"
        ))
    };
    let server = tls("");
    assert_eq!(asked(&server, &["--tls-ca", &ca]), Ok(()));
    // Neither another authority's, nor the system's.
    for words in [&["--tls-ca", &other_ca][..], &["--tls"], &[]] {
        let told = asked(&server, words).unwrap_err();
        assert!(told.contains("certificate") || told.contains("TLS"), "{words:?}: {told}");
    }
    // Where clients must show theirs.
    let server = tls(", verify: true");
    let with = |cert: &str, key: &str| {
        asked(&server, &["--tls-ca", &ca, "--tls-cert", cert, "--tls-key", key])
    };
    assert_eq!(with(&cert, &key), Ok(()));
    assert!(with(&other_cert, &other_key).is_err());
    assert!(asked(&server, &["--tls-ca", &ca]).is_err());
}

#[test]
fn a_server_without_tls_gets_no_password() {
    let files = Files::new();
    let authority = Authority::new();
    let ca = files.file("ca.pem", &authority.certificate.pem());
    let [cert, key] = authority.sign(&files, "client", &[]);
    let secret = files.file("secret", "secret");
    let server = Server::with("authorization { user: me, password: secret }");
    let me = ["--user", "me", "--password-file", &secret];
    assert_eq!(asked(&server, &me), Ok(()));
    for tls in [&["--tls"][..], &["--tls-ca", &ca], &["--tls-cert", &cert, "--tls-key", &key]] {
        assert!(asked(&server, &[&me[..], tls].concat()).is_err(), "{tls:?}");
    }
}

#[test]
fn inboxes_of_ones_own() {
    let files = Files::new();
    let secret = files.file("secret", "secret");
    let server = Server::with(
        "authorization { users: [ { user: me, password: secret, \
         permissions: { publish: work, subscribe: \"_INBOX_me.>\" } } ] }",
    );
    let me = ["--user", "me", "--password-file", &secret, "--timeout", "1"];
    assert_eq!(asked(&server, &[&me[..], &["--inbox-prefix", "_INBOX_me"]].concat()), Ok(()));
    assert!(asked(&server, &me).unwrap_err().contains("Permissions Violation"));
}
