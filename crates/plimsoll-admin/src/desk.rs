//! What is asked, and what it is answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::access::Access;
use crate::overview::Overview;
use crate::steer::{Steer, Unfound, Verb};

/// The longest that a request's body is waited for, and its most bytes: it is a number.
const BODY_TIME: Duration = Duration::from_secs(5);
const BODY_BYTES: usize = 64;

/// Reads anew what is told, and says what has come of it, or why nothing has changed. It is called
/// on a thread that may wait.
pub type Reload = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What operators see, and may have done.
pub struct Desk {
    /// What there is to see.
    pub overview: Box<dyn Fn() -> Overview + Send + Sync>,
    /// What `POST /reload` does.
    pub reload: Option<Reload>,
    /// What has workers steered.
    pub steer: Option<Steer>,
    /// Who may.
    pub access: Access,
}

type Answer = Response<Full<Bytes>>;

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Live,
    Ready,
    Metrics,
    Workers,
    Worker(String),
    Steer(String, Verb),
    Reload,
}

impl Desk {
    /// For everybody to look at.
    pub fn new(overview: impl Fn() -> Overview + Send + Sync + 'static) -> Self {
        let overview = Box::new(overview);
        Self { overview, reload: None, steer: None, access: Access::default() }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let place = self.place(request.uri().path());
        // What asks for these is a machine that has no secrets, and it learns no more of it.
        let open = matches!(place, Some(Place::Live | Place::Ready));
        if !open && !self.access.allows(request.headers()) {
            let said = "who asks here must show the token: Authorization: Bearer TOKEN";
            let mut answer = said_so(StatusCode::UNAUTHORIZED, said);
            let challenge = HeaderValue::from_static("Bearer realm=\"plimsoll\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            return answer;
        }
        let Some(place) = place else {
            return said_so(StatusCode::NOT_FOUND, &format!("there is {}", self.places()));
        };
        let does = matches!(place, Place::Steer(..) | Place::Reload);
        let fits = match *request.method() {
            Method::GET | Method::HEAD => !does,
            Method::POST => does,
            _ => false,
        };
        if !fits {
            let allowed = if does { "POST" } else { "GET, HEAD" };
            let mut answer =
                said_so(StatusCode::METHOD_NOT_ALLOWED, &format!("here is only {allowed}"));
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return answer;
        }
        // A page in an operator's browser may send to this machine, too.
        if does && request.headers().contains_key(header::ORIGIN) {
            return said_so(StatusCode::FORBIDDEN, "not for pages of a browser");
        }
        match place {
            Place::Live => said_so(StatusCode::OK, "it runs"),
            Place::Ready => match (self.overview)().ready() {
                Ok(said) => said_so(StatusCode::OK, said),
                Err(said) => said_so(StatusCode::SERVICE_UNAVAILABLE, &said),
            },
            Place::Metrics => {
                let page = (self.overview)().metrics();
                text(StatusCode::OK, "text/plain; version=0.0.4", page)
            }
            Place::Workers => json((self.overview)().json()),
            Place::Worker(meant) => self.worker(&meant),
            Place::Steer(meant, verb) => self.steer(&meant, verb, request).await,
            Place::Reload => self.reload().await,
        }
    }

    fn place(&self, path: &str) -> Option<Place> {
        let under = path.strip_prefix("/workers/").filter(|under| !under.is_empty());
        if let Some(under) = under {
            let verb = under.rsplit_once('/').and_then(|(meant, verb)| {
                let (_, verb) = Verb::ALL.iter().find(|(name, _)| *name == verb)?;
                Some((meant, *verb))
            });
            return match verb {
                Some((meant, verb)) if self.steer.is_some() => {
                    Some(Place::Steer(decoded(meant), verb))
                }
                _ => Some(Place::Worker(decoded(under))),
            };
        }
        match path {
            "/live" => Some(Place::Live),
            "/ready" => Some(Place::Ready),
            "/metrics" => Some(Place::Metrics),
            "/workers" => Some(Place::Workers),
            "/reload" if self.reload.is_some() => Some(Place::Reload),
            _ => None,
        }
    }

    fn places(&self) -> String {
        let mut places = vec!["/metrics", "/workers", "/workers/ID"];
        let steers = ["/drain", "/resume", "/weight", "/capacity"]
            .map(|verb| "/workers/ID".to_owned() + verb);
        if self.steer.is_some() {
            places.extend(steers.iter().map(String::as_str));
        }
        if self.reload.is_some() {
            places.push("/reload");
        }
        places.extend(["/ready", "/live"]);
        places.join(", ")
    }

    fn worker(&self, meant: &str) -> Answer {
        let overview = (self.overview)();
        match overview.find(meant) {
            Ok(worker) => json(worker.json(overview.word).to_string()),
            Err(unfound) => not_found(unfound),
        }
    }

    async fn steer(&self, meant: &str, verb: Verb, request: Request<Incoming>) -> Answer {
        let body = Limited::new(request.into_body(), BODY_BYTES).collect();
        // One that is too long, or late, is no number either.
        let sent = tokio::time::timeout(BODY_TIME, body).await.ok().and_then(Result::ok);
        let sent = sent.map(|sent| String::from_utf8_lossy(&sent.to_bytes()).into_owned());
        let order = match verb.order(&sent.unwrap_or_default()) {
            Ok(order) => order,
            Err(said) => return said_so(StatusCode::UNPROCESSABLE_ENTITY, &said),
        };
        let overview = (self.overview)();
        let worker = match overview.find(meant) {
            Ok(worker) => worker,
            Err(unfound) => return not_found(unfound),
        };
        let (id, pool) = (worker.stats.id, worker.pool.name.as_deref().unwrap_or_default());
        let steered = self.steer.as_ref().is_some_and(|steer| steer(pool, id, order));
        if !steered {
            let said = format!("{} is told of no more, and finishes what it has", worker.id());
            return said_so(StatusCode::CONFLICT, &said);
        }
        // As it is now.
        self.worker(&worker.id())
    }

    async fn reload(&self) -> Answer {
        let Some(reload) = self.reload.clone() else {
            return said_so(StatusCode::NOT_FOUND, "nothing is read again");
        };
        // It may take its time, and others look meanwhile.
        match tokio::task::spawn_blocking(move || reload()).await {
            Ok(Ok(done)) => said_so(StatusCode::OK, &done),
            Ok(Err(sentence)) => said_so(StatusCode::UNPROCESSABLE_ENTITY, &sentence),
            Err(_) => said_so(StatusCode::INTERNAL_SERVER_ERROR, "it failed"),
        }
    }
}

fn not_found(unfound: Unfound) -> Answer {
    match unfound {
        Unfound::Unknown(said) => said_so(StatusCode::NOT_FOUND, &said),
        Unfound::Ambiguous(said) => said_so(StatusCode::CONFLICT, &said),
    }
}

/// A part of a path as it was meant: `%5B` is `[`.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, mut after)) = rest.split_first() {
        let hex = after.split_first_chunk::<2>().filter(|_| first == b'%');
        let byte = hex.and_then(|(digits, behind)| {
            let digits = std::str::from_utf8(digits).ok()?;
            let byte = u8::from_str_radix(digits, 16).ok()?;
            after = behind;
            Some(byte)
        });
        bytes.push(byte.unwrap_or(first));
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn said_so(status: StatusCode, said: &str) -> Answer {
    text(status, "text/plain", format!("{said}\n"))
}

fn json(value: String) -> Answer {
    text(StatusCode::OK, "application/json", value + "\n")
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_workers_of_any_name() {
        let mut desk = Desk::new(|| Overview::new("backend", vec![]));
        let steer = |desk: &Desk, path| desk.place(path);
        assert_eq!(steer(&desk, "/workers/a/x/drain"), Some(Place::Worker("a/x/drain".into())));
        assert_eq!((desk.place("/reload"), desk.place("/workers/")), (None, None));
        desk.steer = Some(Arc::new(|_, _, _| false));
        for (path, expected) in [
            ("/workers/a/1.2.3.4:5/drain", Place::Steer("a/1.2.3.4:5".into(), Verb::Drain)),
            ("/workers/a/%5B::1%5d:5/weight", Place::Steer("a/[::1]:5".into(), Verb::Weight)),
            ("/workers/drain", Place::Worker("drain".into())),
            ("/workers/100%/x", Place::Worker("100%/x".into())),
        ] {
            assert_eq!(desk.place(path), Some(expected), "{path}");
        }
    }
}
