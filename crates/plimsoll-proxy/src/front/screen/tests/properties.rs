//! What holds for every stream, however its bytes are split.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(choices).prop_map(str::to_owned)
}

/// Field lines that say nothing of the body, the host or the connection.
fn other_fields() -> impl Strategy<Value = String> {
    let field = text(&[
        "Accept: */*\r\n",
        "X-Empty:\r\n",
        "X-Tab:\ta\tb\t\r\n",
        "cookie: a=b; c=\"d, e\"\r\n",
        "Connection: close\r\n",
        "CONNECTION: upgrade, keep-alive\r\n",
        "Expect: 100-Continue\r\n",
        "X-Latin: \u{e9}\r\n",
        "Upgrade: h2c\r\n",
        "Content-Lengths: 3\r\n",
    ]);
    vec(field, 0..4).prop_map(|fields| fields.concat())
}

fn request_line_and_host() -> impl Strategy<Value = String> {
    text(&[
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST /a?b=c|d HTTP/1.1\r\nhost:a.example:8080 \r\n",
        "OPTIONS * HTTP/1.1\r\nHOST: [::1]:1\r\n",
        "PUT HTTP://A/ HTTP/1.1\r\nHost: a\r\n",
        "M-SEARCH https://a.b?c HTTP/1.0\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    ])
}

fn chunked_body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let line_end = text(&["\r\n", ";a\r\n", " ;a=\"b\"\r\n"]);
    let chunk = (vec(any::<u8>(), 1..20), any::<bool>(), line_end).prop_map(|(data, pad, end)| {
        let size = data.len();
        let line = if pad { format!("{size:04X}{end}") } else { format!("{size:x}{end}") };
        [line.as_bytes(), &data, b"\r\n"].concat()
    });
    let end = text(&["0\r\n\r\n", "000\r\nX-Sum: 1\r\n\r\n", "0;z\r\nA:\r\nB: \u{e9}\r\n\r\n"]);
    (vec(chunk, 0..4), end).prop_map(|(chunks, end)| {
        ("Transfer-Encoding: chunked\r\n".to_owned(), [chunks.concat(), end.into_bytes()].concat())
    })
}

fn sized_body() -> impl Strategy<Value = (String, Vec<u8>)> {
    vec(any::<u8>(), 0..30).prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body))
}

/// A clean request; whole.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![
        Just((String::new(), Vec::new())),
        sized_body(),
        chunked_body(),
        Just(("Upgrade: websocket\r\nConnection: Upgrade\r\n".to_owned(), Vec::new())),
    ];
    let parts = (request_line_and_host(), other_fields(), body, other_fields());
    parts.prop_map(|(line, before, (framing, body), after)| {
        let http_1_0 = line.contains("HTTP/1.0") && framing.starts_with('T');
        let line = if http_1_0 { "GET / HTTP/1.1\r\nHost: a\r\n" } else { &line };
        [line, &before, &framing, &after, "\r\n"]
            .concat()
            .into_bytes()
            .into_iter()
            .chain(body)
            .collect()
    })
}

/// What goes wrong with bytes on their way, or is put there on purpose.
#[derive(Clone, Debug)]
enum Mutation {
    Replace(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let piece = prop_oneof![
        text(&[
            "\r",
            "\n",
            "\r\n",
            "\r\n\r\n",
            "\0",
            " ",
            "\t",
            ":",
            "#",
            ",",
            "0",
            "9",
            "f",
            "-",
            "\u{e9}",
            "@",
            "/",
            "%",
            "\x7f",
            ";",
            "chunked",
            "HTTP/2.0",
            "Host: b\r\n",
            "Content-Length: 3\r\n",
            "Content-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            " folded\r\n",
            "Upgrade: websocket\r\nConnection: upgrade\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ])
        .prop_map(String::into_bytes),
        vec(any::<u8>(), 1..3),
    ];
    prop_oneof![
        (any::<Index>(), piece.clone()).prop_map(|(at, piece)| Mutation::Replace(at, piece)),
        (any::<Index>(), piece).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, bytes)| Mutation::Remove(at, bytes)),
        (any::<Index>(), 1..60_usize).prop_map(|(at, bytes)| Mutation::Repeat(at, bytes)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let (Mutation::Replace(at, _)
    | Mutation::Insert(at, _)
    | Mutation::Remove(at, _)
    | Mutation::Repeat(at, _)) = mutation;
    let at = at.index(bytes.len() + 1);
    let end = |count: usize| bytes.len().min(at + count);
    match mutation {
        Mutation::Replace(_, piece) => drop(bytes.splice(at..end(piece.len()), piece.clone())),
        Mutation::Insert(_, piece) => drop(bytes.splice(at..at, piece.clone())),
        Mutation::Remove(_, count) => drop(bytes.drain(at..end(*count))),
        Mutation::Repeat(_, count) => {
            let piece = bytes[at..end(*count)].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

fn mutated_stream() -> impl Strategy<Value = Vec<u8>> {
    let empty_line = text(&["", "", "\r\n"]).prop_map(String::into_bytes);
    let requests = vec((empty_line, request()), 1..5);
    (requests, vec(mutation(), 0..4)).prop_map(|(requests, mutations)| {
        let mut bytes = Vec::new();
        for (before, request) in requests {
            bytes.extend(before);
            bytes.extend(request);
        }
        for mutation in &mutations {
            mutate(&mut bytes, mutation);
        }
        bytes
    })
}

/// Tight ones are met by the generated streams, at and around their ends.
fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![
        Just(LIMITS),
        (1..200_usize, 1..8_usize, 1..12_usize).prop_map(|(head_bytes, headers, target_bytes)| {
            Limits { head_bytes, headers, target_bytes }
        }),
    ]
}

/// Where reads end, in ascending order.
fn ends(length: usize, cuts: &[Index]) -> Vec<usize> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(length + 1)).collect();
    ends.sort_unstable();
    ends
}

/// How many heads a reader finds that forgives nothing and takes each field
/// as it stands, in bytes that passed. The last head's body may be cut short.
fn plainly_read(mut bytes: &[u8]) -> usize {
    fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
        let place = bytes.windows(at.len()).position(|window| window == at)?;
        Some((&bytes[..place], &bytes[place + at.len()..]))
    }
    let mut heads = 0;
    while !bytes.is_empty() {
        let (head, mut rest) = split(bytes, b"\r\n\r\n").expect("a whole head");
        heads += 1;
        let head: String = head.iter().copied().map(char::from).collect();
        let (request_line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        assert_eq!(request_line.split(' ').count(), 3);
        let fields: Vec<_> = fields.split("\r\n").filter(|line| !line.is_empty()).collect();
        let values = |name: &str| -> Vec<&str> {
            let pairs = fields.iter().map(|line| line.split_once(':').expect("a colon"));
            pairs.filter(|pair| pair.0.to_lowercase() == name).map(|pair| pair.1.trim()).collect()
        };
        assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']), "{head:?}");
        assert!(values("host").len() == 1 || head.contains(" HTTP/1.0"), "{head:?}");
        match (&values("content-length")[..], &values("transfer-encoding")[..]) {
            ([], []) => {}
            (&[length], []) => {
                let length: usize = length.parse().expect("a number");
                rest = &rest[length.min(rest.len())..];
            }
            ([], [encoding]) => {
                assert_eq!(encoding.to_lowercase(), "chunked");
                while let Some((line, after)) = split(rest, b"\r\n") {
                    let line: String = line.iter().copied().map(char::from).collect();
                    let digits = line.split([' ', '\t', ';']).next().unwrap_or_default();
                    let size = u64::from_str_radix(digits, 16).expect("a chunk's size");
                    if size == 0 {
                        // The trailers' end may follow at once.
                        let line = &rest[rest.len() - after.len() - 2..];
                        rest = split(line, b"\r\n\r\n").map_or(&[], |(_, next)| next);
                        break;
                    }
                    // A chunk's data, but perhaps not yet the CRLF behind it, may be the last.
                    let size = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(2);
                    rest = after.get(size..).unwrap_or_default();
                }
            }
            both => panic!("{both:?}"),
        }
        bytes = rest;
    }
    heads
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn clean_requests_pass_whole(requests in vec(request(), 0..6)) {
        let bytes = requests.concat();
        let outcome = outcome(&bytes);
        prop_assert_eq!(&outcome.passed, &bytes);
        prop_assert_eq!((outcome.heads, outcome.fault), (requests.len(), None));
        prop_assert_eq!(outcome.stage, Stage::Idle);
    }

    #[test]
    fn splits_do_not_matter(
        bytes in mutated_stream(),
        cuts in vec(any::<Index>(), 0..30),
        limits in limits(),
        granted: bool,
    ) {
        let whole = drive(limits, &bytes, [], granted);
        let cut = drive(limits, &bytes, ends(bytes.len(), &cuts), granted);
        prop_assert_eq!(&whole, &cut);
        prop_assert_eq!(whole, drive(limits, &bytes, 0..bytes.len(), granted));
    }

    #[test]
    fn any_bytes_are_taken(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..300),
            vec(select(&b"GET /:HTP1.\r\n\r\n \t0aA;#\x00\xff"[..]), 0..300),
        ],
        behind in prop_oneof![Just(Vec::new()), request()],
        cuts in vec(any::<Index>(), 0..30),
        limits in limits(),
        granted: bool,
    ) {
        let bytes = [behind, bytes].concat();
        let whole = drive(limits, &bytes, [], granted);
        prop_assert_eq!(whole, drive(limits, &bytes, ends(bytes.len(), &cuts), granted));
    }

    #[test]
    fn what_passed_would_pass_again(bytes in mutated_stream(), limits in limits()) {
        let first = drive(limits, &bytes, [], false);
        if first.stage != Stage::Opaque {
            prop_assert_eq!(plainly_read(&first.passed), first.heads);
        }
        let again = drive(limits, &first.passed, [], false);
        prop_assert_eq!(&again.passed, &first.passed);
        prop_assert_eq!((again.heads, again.skipped), (first.heads, 0));
    }
}
