//! Which pool a request goes to.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::config::RouteConfig;
use crate::pool::Pool;

/// The routes, those that say most first; each leads to the place of a pool.
#[derive(Clone)]
pub(crate) struct Routes(Vec<Route>);

#[derive(Clone)]
struct Route {
    host: Host,
    /// Empty for every path, and without a slash at its end.
    path: String,
    /// The place of its pool.
    to: usize,
}

/// Hosts in lower case.
#[derive(Clone, PartialEq, Eq)]
enum Host {
    Any,
    /// With its first dot: `.example.com`.
    Under(String),
    This(String),
}

impl Host {
    fn new(text: Option<&str>) -> Self {
        match text.map(str::to_ascii_lowercase) {
            None => Self::Any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => Self::Under(suffix.to_owned()),
                None => Self::This(host),
            },
        }
    }

    fn is_met_by(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::This(this) => host.eq_ignore_ascii_case(this),
            Self::Under(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .filter(|&at| at > 0)
                .and_then(|at| host.get(at..))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
        }
    }

    /// How much it says.
    fn weight(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Under(suffix) => (1, suffix.len()),
            Self::This(_) => (2, 0),
        }
    }
}

impl Routes {
    /// Where a pool has no route's name, nothing leads to it.
    pub(crate) fn new(told: &[RouteConfig], pools: &[Arc<Pool>]) -> Self {
        let at = |route: &RouteConfig| pools.iter().position(|pool| pool.config.name == route.pool);
        Self::to(told.iter().filter_map(|route| Some((route, at(route)?))).collect())
    }
}

impl Routes {
    fn to(told: Vec<(&RouteConfig, usize)>) -> Self {
        let route = |(told, to): (&RouteConfig, usize)| Route {
            host: Host::new(told.host.as_deref()),
            path: told.path.as_deref().unwrap_or_default().trim_end_matches('/').to_owned(),
            to,
        };
        let mut routes: Vec<_> = told.into_iter().map(route).collect();
        routes.sort_by_key(|route| Reverse((route.host.weight(), route.path.len())));
        Self(routes)
    }

    /// Where a request goes for this host (with its port, as clients send it) and path.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<usize> {
        let host = without_port(host);
        let meets = |route: &&Route| {
            let rest = path.strip_prefix(route.path.as_str());
            route.host.is_met_by(host)
                && rest.is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('/') || route.path.is_empty()
                })
        };
        self.0.iter().find(meets).map(|route| route.to)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an address of IPv6 stand in brackets.
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(told: &[(Option<&str>, Option<&str>)]) -> Routes {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let told: Vec<_> = told
            .iter()
            .map(|(host, path)| RouteConfig {
                host: owned(*host),
                path: owned(*path),
                pool: String::new(),
            })
            .collect();
        Routes::to(told.iter().zip(0..).collect())
    }

    #[test]
    fn the_route_that_says_most_has_it() {
        let routes = routes(&[
            (None, None),
            (None, Some("/static")),
            (Some("*.example.com"), None),
            (Some("*.shop.example.com"), None),
            (Some("a.example.com"), Some("/api/")),
            (Some("A.example.com"), None),
        ]);
        for (host, path, to) in [
            ("other.org", "/", 0),
            ("", "*", 0),
            ("other.org:8080", "/static", 1),
            ("other.org", "/static/x", 1),
            ("other.org", "/statics", 0),
            ("b.example.com", "/static/x", 2),
            ("B.EXAMPLE.COM:443", "/", 2),
            ("example.com", "/", 0),
            ("x.shop.example.com", "/", 3),
            ("a.example.com", "/api", 4),
            ("a.example.com:1", "/api/x", 4),
            ("a.example.com", "/apix", 5),
            ("[::1]:80", "/", 0),
        ] {
            assert_eq!(routes.find(host, path), Some(to), "{host} {path}");
        }
    }

    #[test]
    fn what_no_route_meets_has_none() {
        let routes = routes(&[(Some("a.org"), Some("/x"))]);
        assert_eq!(routes.find("a.org", "/"), None);
        assert_eq!(routes.find("b.org", "/x"), None);
        assert_eq!(routes.find("a.org", "/x/y"), Some(0));
    }
}
