//! An operator steers backends while they serve: nothing is lost, and it holds.

use std::net::SocketAddr;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::backend::{Backend, nobody};
use crate::proxy::Proxy;
use crate::reload::{ask, held, pool_of as pool};
use crate::wire::{self, Response, Wire};

/// What a worker is like after this was done to it.
fn steered(proxy: &Proxy, what: &str, body: &str) -> Value {
    let response = proxy.post(&format!("/workers/{what}"), body);
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(response.text()).unwrap()
}

/// Its own request goes on; checks and reloads do not bring it back.
#[test]
fn who_drains_finishes_what_it_has_until_it_is_resumed() {
    let (old, go) = held(b"old");
    let other = Backend::says("other");
    let quick = "health_interval = 0.02\nslow_start = 60\n";
    let proxy = Proxy::told(&pool("web", &[old.address], quick));
    let mut asked = ask(&proxy);
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    let both = pool("web", &[old.address, other.address], quick);
    proxy.write(&both);
    assert_eq!(proxy.reload().0, 200);
    let id = format!("web/{}", old.address);
    let worker = steered(&proxy, &format!("{id}/drain"), "");
    assert_eq!((&worker["draining"], &worker["pending"]), (&true.into(), &1.into()), "{worker}");
    assert_eq!(worker["steered"], serde_json::json!(["draining"]));
    let checks = other.connections();
    proxy.until("they are checked", |_| other.connections() > checks + 3);
    proxy.write(&format!("{both}line = 5\n"));
    assert_eq!(proxy.reload().0, 200);
    for _ in 0..10 {
        assert_eq!(proxy.get("/").text(), "other");
    }
    go.send(()).unwrap();
    assert_eq!(asked.response().text(), "old");
    let worker = steered(&proxy, &format!("{id}/resume"), "");
    assert_eq!((&worker["draining"], &worker["steered"]), (&false.into(), &serde_json::json!([])));
    // It begins slowly, as one that was down.
    assert_eq!((&worker["capacity"], &worker["capacity_in_force"]), (&32.into(), &2.into()));
    steered(&proxy, &format!("{}/drain", other.address), "");
    go.send(()).unwrap();
    assert_eq!(proxy.get("/").text(), "old");
    drop(asked);
    proxy.finish();
}

#[test]
fn a_capacity_moves_the_line_and_holds_until_another_is_told() {
    let (backend, go) = held(b"x");
    let text = |capacity| {
        let more = format!("capacity = {capacity}\nno_health = true");
        pool("web", &[backend.address], &more)
    };
    let proxy = Proxy::told(&text(1));
    let mut asked: Vec<_> = (0..4).map(|_| ask(&proxy)).collect();
    proxy.until("three wait", |proxy| proxy.in_line() == 3);
    // Where no other has its name, that suffices.
    let path = format!("{}/capacity", backend.address);
    let worker = steered(&proxy, &path, "3\n");
    assert_eq!((&worker["capacity"], &worker["steered"][0]), (&3.into(), &"capacity".into()));
    proxy.until("two more have a place", |proxy| proxy.pending() == 3 && proxy.in_line() == 1);
    steered(&proxy, &path, "2");
    assert_eq!((proxy.pending(), proxy.in_line()), (3, 1));
    // The same is told again: what was steered holds.
    assert_eq!(proxy.reload().0, 200);
    assert_eq!(proxy.workers()["workers"][0]["capacity"], 2);
    proxy.write(&text(4));
    assert_eq!(proxy.reload().0, 200);
    let worker = &proxy.workers()["workers"][0];
    assert_eq!((&worker["capacity"], &worker["steered"]), (&4.into(), &serde_json::json!([])));
    proxy.until("all have a place", |proxy| proxy.pending() == 4);
    (0..4).for_each(|_| go.send(()).unwrap());
    for wire in &mut asked {
        assert_eq!(wire.response().text(), "x");
    }
    drop(asked);
    // What is told is no steering.
    steered(&proxy, &path, "9");
    let worker = steered(&proxy, &path, "4");
    assert_eq!(worker["steered"], serde_json::json!([]));
    assert_eq!(backend.most_active(), 4);
    proxy.finish();
}

#[test]
fn a_weight_shares_the_work_out_anew() {
    let backends = [held(b"a"), held(b"b")];
    let at = [backends[0].0.address, backends[1].0.address];
    let proxy = Proxy::at(&at, &["--no-health"]);
    let worker = steered(&proxy, &format!("default/{}/weight", at[0]), "3");
    assert_eq!((&worker["weight"], &worker["steered"][0]), (&3.into(), &"weight".into()));
    let mut asked: Vec<_> = (0..8).map(|_| ask(&proxy)).collect();
    proxy.until("all are there", |proxy| proxy.pending() == 8);
    let pending = |at| worker_at(&proxy, at)["pending"].as_u64().unwrap();
    assert_eq!([pending(at[0]), pending(at[1])], [6, 2]);
    for (_, go) in &backends {
        (0..8).for_each(|_| go.send(()).unwrap());
    }
    for wire in &mut asked {
        assert_eq!(wire.response().status, 200);
    }
    drop(asked);
    proxy.finish();
}

fn worker_at(proxy: &Proxy, at: SocketAddr) -> Value {
    let response = wire::get(proxy.admin, &format!("/workers/{at}"));
    assert_eq!(response.status, 200);
    serde_json::from_str(response.text()).unwrap()
}

#[test]
fn what_cannot_be_is_said() {
    let backend = Backend::says("x");
    let at = backend.address;
    let route = "[[route]]\npool = \"a\"\n";
    let text = [pool("a", &[at], ""), pool("b", &[at], ""), route.into()].concat();
    let proxy = Proxy::told(&text);
    let said = |response: Response, status, part: &str| {
        assert_eq!(response.status, status, "{}", response.text());
        let text = response.text();
        assert!(text.contains(part) && text.lines().count() == 1, "{text} instead of {part}");
        response
    };
    let ambiguous = format!("'{at}' may be one of a/{at}, b/{at}: say which");
    said(proxy.post(&format!("/workers/{at}/drain"), ""), 409, &ambiguous);
    let unknown = format!("there is no backend 'a/x', but a/{at}, b/{at}");
    said(proxy.post("/workers/a/x/drain", ""), 404, &unknown);
    said(wire::get(proxy.admin, "/workers/a/x"), 404, &unknown);
    let path = format!("/workers/a/{at}/weight");
    for wrong in ["", "0", "65536", "-1", "much", "1 2", &"1".repeat(100)] {
        said(proxy.post(&path, wrong), 422, "a weight is a whole number from 1 to 65535");
    }
    let response = said(wire::get(proxy.admin, &path), 405, "here is only POST");
    assert_eq!(response.field("allow"), Some("POST"));
    for path in ["/workers", "/metrics", "/ready", "/live", &format!("/workers/a/{at}")] {
        let response = said(proxy.post(path, ""), 405, "here is only GET, HEAD");
        assert_eq!(response.field("allow"), Some("GET, HEAD"));
    }
    said(
        proxy.post("/other", ""),
        404,
        "there is /metrics, /workers, /workers/ID, /workers/ID/drain",
    );
    let mut page = Wire::connect(proxy.admin);
    let head = "Host: x\r\nOrigin: http://a\r\nContent-Length: 1\r\n";
    page.send(format!("POST {path} HTTP/1.1\r\n{head}\r\n5"));
    assert_eq!(page.response().status, 403);
    drop(page);
    let worker = steered(&proxy, &format!("a/{at}/weight").replace(':', "%3A"), "2");
    assert_eq!((&worker["id"], &worker["weight"]), (&format!("a/{at}").into(), &2.into()));
    proxy.finish();
}

/// When its name is told again it is the same one.
#[test]
fn one_that_is_told_no_more_is_steered_no_more() {
    let (backend, go) = held(b"x");
    let other = Backend::says("other");
    let proxy = Proxy::told(&pool("web", &[backend.address], "no_health = true"));
    let mut asked = ask(&proxy);
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    proxy.write(&pool("web", &[other.address], "no_health = true"));
    assert_eq!(proxy.reload().0, 200);
    let id = format!("web/{}", backend.address);
    let response = proxy.post(&format!("/workers/{id}/drain"), "");
    assert_eq!(response.status, 409, "{}", response.text());
    assert!(response.text().contains("is told of no more"), "{}", response.text());
    proxy.write(&pool("web", &[other.address, backend.address], "no_health = true"));
    assert_eq!(proxy.reload().0, 200);
    assert_eq!(steered(&proxy, &format!("{id}/drain"), "")["id"], id);
    let ids: Vec<_> = proxy.workers()["workers"].as_array().unwrap().clone();
    let ids: Vec<_> = ids.iter().map(|worker| worker["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert_eq!(proxy.pending(), 1);
    go.send(()).unwrap();
    assert_eq!(asked.response().text(), "x");
    drop(asked);
    proxy.finish();
}

#[test]
fn ready_says_whether_requests_are_served() {
    let backend = Backend::says("x");
    let at = backend.address;
    let quick = "health_interval = 0.02\nfall = 1\nrise = 1\nslow_start = 0";
    let route = "[[route]]\npool = \"web\"\n";
    let text = [pool("web", &[at], quick), route.into()].concat();
    let mut proxy = Proxy::told(&text);
    let ready = |proxy: &Proxy| {
        let response = wire::get(proxy.admin, "/ready");
        (response.status, response.text().to_owned())
    };
    assert_eq!(ready(&proxy), (200, "it serves\n".into()));
    steered(&proxy, &format!("web/{at}/drain"), "");
    assert_eq!(ready(&proxy), (503, "pool web: no backend takes requests (1 draining)\n".into()));
    assert_eq!(proxy.get("/").status, 503);
    steered(&proxy, &format!("web/{at}/resume"), "");
    assert_eq!((ready(&proxy).0, proxy.get("/").status), (200, 200));
    let second = pool("other", &[nobody()], quick);
    proxy.write(&[&*second, &*text].concat());
    assert_eq!(proxy.reload().0, 200);
    let unready = "pool other: no backend takes requests (1 down)\n";
    proxy.until("the other is down", |proxy| ready(proxy) == (503, unready.into()));
    proxy.write(&text);
    assert_eq!(proxy.reload().0, 200);
    proxy.until("it serves", |proxy| ready(proxy).0 == 200);
    // While it ends it runs, and serves what it has.
    let mut unfinished = proxy.connect();
    unfinished.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n");
    proxy.until("it is there", |proxy| proxy.pending() == 1);
    proxy.signal(Signal::TERM);
    proxy
        .until("it ends", |proxy| ready(proxy) == (503, "it ends, and takes nothing new\n".into()));
    assert_eq!(wire::get(proxy.admin, "/live").text(), "it runs\n");
    unfinished.send("x");
    assert_eq!(unfinished.response().text(), "x");
    drop(unfinished);
    assert_eq!(proxy.wait().code(), Some(0));
    proxy.assert_quiet();
}

/// Requests, checks and reloads while an operator drains, resumes and changes: none fails, none
/// is lost.
#[test]
fn steering_under_load_loses_nothing() {
    let backends: Vec<_> = (0..3).map(|_| Backend::says("x")).collect();
    let at: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let text = pool("web", &at, "capacity = 4\nhealth_interval = 0.05\nslow_start = 0.1");
    let proxy = Proxy::told(&text);
    let mut random = fastrand::Rng::with_seed(crate::proxy::seed());
    let over = std::sync::atomic::AtomicBool::new(false);
    let asked: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut wire = proxy.connect();
                    let mut asked = 0;
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                        let response = wire.response();
                        assert_eq!(response.status, 200, "{}", response.text());
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for round in 0..200 {
            // One always serves.
            let which = at[random.usize(..2)];
            match random.u8(..5) {
                0 => drop(steered(&proxy, &format!("{which}/drain"), "")),
                1 => drop(steered(&proxy, &format!("{which}/resume"), "")),
                2 => drop(steered(&proxy, &format!("{which}/weight"), &random.u8(1..).to_string())),
                3 => {
                    let most = random.u8(1..=4).to_string();
                    drop(steered(&proxy, &format!("{which}/capacity"), &most));
                }
                _ => assert_eq!(proxy.reload().0, 200, "round {round}"),
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    proxy.until("all are counted", |proxy| proxy.workers()["requests"] == asked);
    assert!(backends.iter().all(|backend| backend.most_active() <= 4));
    proxy.finish();
}
