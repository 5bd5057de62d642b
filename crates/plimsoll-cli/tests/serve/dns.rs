//! Backends from DNS: they come and go as it says, and what fails changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, mpsc};

use serde_json::Value;

use crate::backend::{Backend, respond};
use crate::metrics;
use crate::nameserver::{A, AAAA, NameServer};
use crate::proxy::Proxy;
use crate::reload::ask;
use crate::wire;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn pool(names: &NameServer, dns: &str, more: &str) -> String {
    format!("dns_server = \"{}\"\n[pool.web]\ndns = [{dns}]\n{more}\n", names.address)
}

fn worker(proxy: &Proxy, name: &str) -> Option<Value> {
    let workers = proxy.workers();
    workers["workers"].as_array().unwrap().iter().find(|one| one["backend"] == name).cloned()
}

/// Those that stay keep what is known of them, and those that are gone finish what they have.
#[test]
fn addresses_come_and_go() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let old = Backend::start(move |_, stream| {
        let _ = wait.lock().unwrap().recv();
        respond(stream, b"old")
    });
    let port = old.address.port();
    let new = Backend::says_at((THERE, port), "new");
    let names = NameServer::start();
    names.host("web.internal", &[HERE]);
    let options = ["--dns", &*format!("web.internal:{port},capacity=3"), "--no-health"];
    let server = names.address.to_string();
    let proxy = Proxy::at(&[], &[&options[..], &["--dns-server", &server]].concat());
    let (old_name, new_name) = (old.address.to_string(), new.address.to_string());
    let mut asked = ask(&proxy);
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    names.host("web.internal", &[THERE, HERE]);
    proxy.until("it is added", |proxy| worker(proxy, &new_name).is_some());
    let kept = worker(&proxy, &old_name).unwrap();
    assert_eq!([&kept["pending"], &kept["dispatched"]], [1, 1]);
    assert_eq!((&kept["capacity"], &kept["leaves"]), (&3.into(), &false.into()));
    names.host("web.internal", &[THERE]);
    proxy.until("it leaves", |proxy| worker(proxy, &old_name).unwrap()["leaves"] == true);
    for _ in 0..5 {
        assert_eq!(proxy.get("/").text(), "new");
    }
    assert_eq!(worker(&proxy, &old_name).unwrap()["pending"], 1);
    go.send(()).unwrap();
    assert_eq!(asked.response().text(), "old");
    drop(asked);
    proxy.until("it is gone", |proxy| worker(proxy, &old_name).is_none());
    // It is answered again and again, and that changes nothing.
    let before = names.asked();
    proxy.until("it is asked again", |_| names.asked() > before + 4);
    assert_eq!(worker(&proxy, &new_name).unwrap()["dispatched"], 5);
    proxy.finish();
}

#[test]
fn what_fails_keeps_the_last_answer_and_is_said_once() {
    let backend = Backend::says("x");
    let names = NameServer::start();
    names.host("web.internal", &[HERE]);
    let port = backend.address.port();
    let proxy = Proxy::told(&pool(&names, &format!("\"web.internal:{port}\""), ""));
    let name = format!("web.internal:{port}");
    let failures = |proxy: &Proxy| proxy.workers()["dns_failures"][&name].as_u64().unwrap();
    assert_eq!(failures(&proxy), 0);
    let said = |proxy: &Proxy, what: &str| proxy.said().matches(what).count();
    for (round, gone) in [false, true].into_iter().enumerate() {
        let before = failures(&proxy);
        names.fails(if gone { &[] } else { &[A, AAAA] });
        if gone {
            names.host("web.internal", &[]);
        }
        proxy.until("it has failed twice", |proxy| failures(proxy) >= before + 2);
        assert_eq!(proxy.get("/").text(), "x");
        assert_eq!(said(&proxy, "the last answer is kept"), round + 1, "{}", proxy.said());
        let age = proxy.workers()["dns_answer_age_seconds"][&name].as_f64().unwrap();
        assert!(age > 1.0, "{age}");
        names.fails(&[]);
        names.host("web.internal", &[HERE]);
        proxy.until("it is answered", |proxy| said(proxy, "it is answered again") == round + 1);
    }
    assert!(proxy.said().contains("there is no such name; the last"), "{}", proxy.said());
    let page = wire::get(proxy.admin, "/metrics");
    metrics::assert_good(page.text());
    let line = format!("plimsoll_dns_failures_total{{name=\"{name}\"}} ");
    assert!(page.text().contains(&line), "{}", page.text());
    proxy.finish();
}

/// A machine may begin before its DNS does.
#[test]
fn a_name_without_an_answer_is_waited_for() {
    let backend = Backend::says("x");
    let names = NameServer::start();
    let port = backend.address.port();
    let dns = format!("\"web.internal:{port}\"");
    let proxy = Proxy::told(&pool(&names, &dns, "health = \"/health\"\nhealth_interval = 0.02"));
    let heard = "there is no such name; it has no backends yet";
    assert!(proxy.said().contains(heard), "{}", proxy.said());
    let ready = wire::get(proxy.admin, "/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.text(), "pool web: no backend takes requests (1 starting)\n");
    // A second time it is not said.
    assert_eq!(proxy.reload().0, 200);
    let mut asked = ask(&proxy);
    proxy.until("it waits", |proxy| proxy.in_line() == 1);
    names.host("web.internal", &[HERE]);
    assert_eq!(asked.response().text(), "x");
    drop(asked);
    proxy.until("it is ready", |proxy| wire::get(proxy.admin, "/ready").status == 200);
    assert_eq!(proxy.said().matches(heard).count(), 1, "{}", proxy.said());
    // Who asks for no host of its own, as checks do, asks for the name.
    let host = format!("web.internal:{port}");
    let asks_for = |target| {
        let seen = backend.seen();
        let mut hosts =
            seen.iter().filter(|one| one.target() == target).map(|one| one.field("host"));
        hosts.next().is_some_and(|first| first == Some(&host))
    };
    proxy.until("it is checked", |_| asks_for("/health"));
    let mut old = proxy.connect();
    old.send("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(old.response().status, 200);
    assert!(asks_for("/old"), "{:?}", backend.seen());
    drop(old);
    proxy.finish();
}

#[test]
fn a_service_has_ports_and_weights_and_those_that_come_first() {
    let backends = ["a", "b", "c"].map(Backend::says);
    let six = Backend::says_at((Ipv6Addr::LOCALHOST, 0), "six");
    let [a, b, c] = [0, 1, 2].map(|nth: usize| backends[nth].address);
    let names = NameServer::start();
    names.host("one.internal", &[HERE]);
    names.host("two.internal", &[Ipv6Addr::LOCALHOST.into()]);
    let service = "_http._tcp.web.internal";
    names.service(
        service,
        &[
            (1, 5, a.port(), "one.internal"),
            (1, 0, six.address.port(), "two.internal"),
            (2, 9, c.port(), "one.internal"),
        ],
    );
    let quick = "health = \"/health\"\nhealth_interval = 0.02";
    let proxy = Proxy::told(&pool(&names, &format!("\"{service},capacity=7\""), quick));
    let shown = |proxy: &Proxy| {
        let workers = proxy.workers();
        let one = |one: &Value| {
            let number = |key: &str| one[key].as_u64().unwrap();
            (one["backend"].as_str().unwrap().to_owned(), number("weight"), number("capacity"))
        };
        let mut shown: Vec<_> = workers["workers"].as_array().unwrap().iter().map(one).collect();
        shown.sort();
        shown
    };
    assert_eq!(shown(&proxy), [(a.to_string(), 5, 7), (six.address.to_string(), 1, 7)]);
    let host = |backend: &Backend| {
        backend.seen().first().and_then(|one| one.field("host").map(str::to_owned))
    };
    proxy.until("the sixth is checked", |_| host(&six).as_deref() == Some("web.internal"));
    // Another weight and another port; who steered keeps the word where nothing new is told.
    let steer = |what: &str, number| {
        let response = proxy.post(&format!("/workers/{what}"), number);
        assert_eq!(response.status, 200, "{}", response.text());
    };
    steer(&format!("{a}/weight"), "8");
    steer(&format!("{a}/capacity"), "3");
    names.service(service, &[(1, 6, a.port(), "one.internal"), (1, 2, b.port(), "one.internal")]);
    let expected = [(a.to_string(), 6, 3), (b.to_string(), 2, 7)];
    proxy.until("it is so", |proxy| {
        let mut expected = expected.to_vec();
        expected.sort();
        shown(proxy) == expected
    });
    // None of the first any more: the second come.
    names.service(service, &[(2, 9, c.port(), "one.internal")]);
    proxy.until("it is so", |proxy| shown(proxy) == [(c.to_string(), 9, 7)]);
    assert_eq!(proxy.get("/").text(), "c");
    // One that says that there is none keeps what was.
    names.service(service, &[(0, 0, 0, ".")]);
    proxy.until("it is said", |proxy| proxy.said().contains("it has no host; the last"));
    assert_eq!(proxy.get("/").text(), "c");
    proxy.finish();
}

/// There are servers that never answer one of them.
#[test]
fn one_kind_of_addresses_without_an_answer_keeps_what_it_had() {
    let four = Backend::says("four");
    let port = four.address.port();
    let six = Backend::says_at((Ipv6Addr::LOCALHOST, port), "six");
    let names = NameServer::start();
    names.host("web.internal", &[HERE, Ipv6Addr::LOCALHOST.into()]);
    let proxy = Proxy::told(&pool(&names, &format!("\"web.internal:{port}\""), "no_health = true"));
    let is_there = |proxy: &Proxy, name: &str| {
        worker(proxy, name).is_some_and(|worker| worker["leaves"] == false)
    };
    let [four_name, six_name] = [&four, &six].map(|backend| backend.address.to_string());
    assert!(is_there(&proxy, &four_name) && is_there(&proxy, &six_name));
    names.fails(&[AAAA]);
    names.host("web.internal", &[THERE]);
    let new_name = format!("{THERE}:{port}");
    proxy.until("it is another", |proxy| is_there(proxy, &new_name));
    assert!(!is_there(&proxy, &four_name) && is_there(&proxy, &six_name), "{}", proxy.workers());
    names.fails(&[]);
    proxy.until("it is gone", |proxy| !is_there(proxy, &six_name));
    assert!(is_there(&proxy, &new_name));
    proxy.finish();
}

#[test]
fn a_reload_and_answers_know_of_each_other() {
    let backend = Backend::says("first");
    let port = backend.address.port();
    let second = Backend::says_at((THERE, port), "second");
    let fixed = Backend::says("fixed");
    let names = NameServer::start();
    names.host("web.internal", &[HERE]);
    let (name, server) = (format!("\"web.internal:{port}\""), "no_health = true");
    let proxy = Proxy::told(&pool(&names, &name, server));
    assert_eq!(proxy.get("/").text(), "first");
    // Other settings: what DNS told is in force still.
    proxy.write(&pool(&names, &name, &format!("{server}\ncapacity = 5")));
    let (status, said) = proxy.reload();
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("0 backends and 1 name of 1 pool"), "{said}");
    let worker = worker(&proxy, &backend.address.to_string()).unwrap();
    assert_eq!((&worker["capacity"], &worker["dispatched"]), (&5.into(), &1.into()));
    // And what DNS tells then is beside what the file told last.
    let with = format!("{server}\nto = [\"{}\"]", fixed.address);
    proxy.write(&pool(&names, &name, &with));
    assert_eq!(proxy.reload().0, 200);
    names.host("web.internal", &[THERE]);
    let shown = |proxy: &Proxy| {
        let workers = proxy.workers();
        let names = workers["workers"].as_array().unwrap().iter().map(|one| one["backend"].clone());
        let mut names: Vec<_> = names.map(|name| name.as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let mut expected = [fixed.address.to_string(), second.address.to_string()];
    expected.sort();
    proxy.until("both are there", |proxy| shown(proxy) == expected);
    // A name that was not told before must not take the place of what serves.
    proxy.write(&pool(&names, "\"wbe.internal:80\"", server));
    let (status, said) = proxy.reload();
    assert_eq!(status, 422, "{said}");
    assert!(said.contains("dns 'wbe.internal:80': there is no such name"), "{said}");
    assert_eq!(shown(&proxy), expected);
    // Told no more, it is asked for no more.
    let to = format!("[pool.web]\nto = [\"{}\"]\n{server}\n", fixed.address);
    proxy.write(&to);
    assert_eq!(proxy.reload().0, 200);
    proxy.until("the other is gone", |proxy| shown(proxy) == [fixed.address.to_string()]);
    assert!(proxy.workers().get("dns_failures").is_none());
    assert_eq!(proxy.get("/").text(), "fixed");
    proxy.finish();
}
