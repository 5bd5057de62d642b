//! A small HTTP server, for programs that ask at once.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::Overview;

/// A client here is a program that asks at once.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// How long nobody is accepted after the system would not.
const REST: Duration = Duration::from_millis(50);

/// What an operator may have done by `POST`: a path such as `/reload`, and what does it and says
/// what has come of it.
pub type Action = (&'static str, Arc<dyn Fn() -> Result<String, String> + Send + Sync>);

/// Shows what `overview` says, to whoever connects, until `end` is over, and has `actions` done. It runs on a tokio runtime.
///
/// # Errors
///
/// When the listener cannot be used.
///
/// ```
/// use std::io::{Read, Write};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let at = listener.local_addr()?;
/// let ask = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
///     let mut stream = std::net::TcpStream::connect(at)?;
///     stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
///     let mut answer = String::new();
///     stream.read_to_string(&mut answer)?;
///     Ok(answer)
/// });
/// let balancer = plimsoll::Balancer::<()>::new();
/// let pool = move || plimsoll_admin::PoolView::new(balancer.snapshot(), Vec::new());
/// let overview = move || plimsoll_admin::Overview::new("worker", vec![pool()]);
/// let asked = async { ask.await };
/// let mut asked = std::pin::pin!(asked);
/// let mut answer = None;
/// plimsoll_admin::serve(listener, overview, vec![], async { answer = Some(asked.as_mut().await) }).await?;
/// assert!(answer.unwrap()??.contains("plimsoll_line_length 0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn serve(
    listener: TcpListener,
    overview: impl Fn() -> Overview + Send + Sync + 'static,
    actions: Vec<Action>,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let shown = Arc::new((overview, actions));
    let mut end = pin!(end);
    loop {
        let accepted = tokio::select! {
            () = &mut end => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let shown = Arc::clone(&shown);
        let service = service_fn(move |request: Request<Incoming>| {
            let shown = Arc::clone(&shown);
            async move {
                let (overview, actions) = &*shown;
                let answered = match *request.method() {
                    Method::GET | Method::HEAD => show(overview, request.uri().path()),
                    Method::POST => act(actions, &request).await,
                    _ => text(
                        StatusCode::METHOD_NOT_ALLOWED,
                        "text/plain",
                        "only GET and POST\n".into(),
                    ),
                };
                Ok::<_, Infallible>(answered)
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        // Its errors are the client's.
        tokio::spawn(async { drop(connection.await) });
    }
}

fn show(overview: &impl Fn() -> Overview, path: &str) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => text(StatusCode::OK, "text/plain; version=0.0.4", overview().metrics()),
        "/workers" => text(StatusCode::OK, "application/json", overview().json() + "\n"),
        _ => text(StatusCode::NOT_FOUND, "text/plain", "there are /metrics and /workers\n".into()),
    }
}

async fn act(actions: &[Action], request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let said = |status, said: String| text(status, "text/plain", said + "\n");
    // A page in an operator's browser may send to this machine, too.
    if request.headers().contains_key(header::ORIGIN) {
        return said(StatusCode::FORBIDDEN, "not for pages of a browser".into());
    }
    let path = request.uri().path();
    let Some((_, action)) = actions.iter().find(|(at, _)| *at == path) else {
        let known: Vec<_> = actions.iter().map(|(at, _)| *at).collect();
        let what = match &known[..] {
            [] => "nothing can be done here".into(),
            known => format!("there is {}", known.join(", ")),
        };
        return said(StatusCode::NOT_FOUND, what);
    };
    // It may take its time, and others look meanwhile.
    let action = Arc::clone(action);
    match tokio::task::spawn_blocking(move || action()).await {
        Ok(Ok(done)) => said(StatusCode::OK, done),
        Ok(Err(sentence)) => said(StatusCode::UNPROCESSABLE_ENTITY, sentence),
        Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "it failed".into()),
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
