//! Several pools: which request goes to which.

use crate::backend::Backend;
use crate::proxy::Proxy;

fn told(pools: &[(&str, &Backend)], routes: &str) -> String {
    let pool = |(name, backend): &(&str, &Backend)| {
        format!("[pool.{name}]\nto = [\"{}\"]\nno_health = true\n", backend.address)
    };
    let pools: String = pools.iter().map(pool).collect();
    format!("{pools}{routes}")
}

#[test]
fn a_request_goes_where_its_host_and_path_lead() {
    let [web, api, shop] = ["web", "api", "shop"].map(Backend::says);
    let routes = r#"
[[route]]
pool = "web"

[[route]]
path = "/api/"
pool = "api"

[[route]]
host = "*.shop.example"
pool = "shop"
"#;
    let proxy = Proxy::told(&told(&[("web", &web), ("api", &api), ("shop", &shop)], routes));
    for (host, target, expected) in [
        ("any.example", "/", "web"),
        ("any.example", "/api", "api"),
        ("any.example", "/api/x?y", "api"),
        ("any.example", "/apis", "web"),
        ("a.SHOP.example:8080", "/api", "shop"),
        ("shop.example", "/", "web"),
    ] {
        let mut wire = proxy.connect();
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(wire.response().text(), expected, "{host}{target}");
    }
    let mut wire = proxy.connect();
    wire.send("GET http://x.shop.example/ HTTP/1.1\r\nHost: x.shop.example\r\n\r\n");
    assert_eq!(wire.response().text(), "shop", "as the target says");
    drop(wire);
    let workers = proxy.workers();
    let dispatched = |nth: usize| workers["workers"][nth]["dispatched"].as_u64().unwrap();
    assert_eq!([dispatched(0), dispatched(1), dispatched(2)], [2, 2, 3], "{workers}");
    assert_eq!(workers["workers"][1]["pool"], "shop");
    proxy.finish();
}

/// Nothing is guessed, and the connection serves on.
#[test]
fn what_no_route_meets_is_404() {
    let web = Backend::says("web");
    let routes = "[[route]]\nhost = \"this.example\"\npool = \"web\"\n";
    let proxy = Proxy::told(&told(&[("web", &web)], routes));
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n");
    let response = wire.response();
    assert_eq!((response.status, response.text()), (404, "404 no route leads there\n"));
    wire.send("GET / HTTP/1.1\r\nHost: this.example\r\n\r\n");
    assert_eq!(wire.response().text(), "web");
    drop(wire);
    assert_eq!(proxy.refused("no_route"), 1);
    proxy.finish();
}

/// A pool that is full has a line of its own.
#[test]
fn a_full_pool_does_not_hold_up_another() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = Backend::start(move |_, stream| {
        let _ = wait.lock().unwrap().recv();
        crate::backend::respond(stream, b"slow")
    });
    let quick = Backend::says("quick");
    let routes =
        "capacity = 1\n[[route]]\npool = \"quick\"\n[[route]]\npath = \"/slow\"\npool = \"slow\"\n";
    let proxy = Proxy::told(&told(&[("quick", &quick), ("slow", &slow)], routes));
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let mut wire = proxy.connect();
            wire.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
            wire
        })
        .collect();
    proxy.until("two in line", |proxy| proxy.in_line() == 2);
    assert_eq!(proxy.get("/").text(), "quick");
    let line = |nth: usize| proxy.workers()["pools"][nth]["line"]["length"].as_u64().unwrap();
    assert_eq!([line(0), line(1)], [0, 2]);
    (0..3).for_each(|_| go.send(()).unwrap());
    for mut wire in asked {
        assert_eq!(wire.response().text(), "slow");
    }
    proxy.finish();
}
