//! Why a request gets no answer of a backend's, and what it is told.

use hyper::StatusCode;
use plimsoll::Reason;

use crate::front::Fault;

/// A reason of the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The client's head is not as it should be.
    Fault(Fault),
    /// No route leads to a pool.
    NoRoute,
    LineFull,
    /// The client has its share of the line.
    LineShare,
    /// It would wait, or has waited, longer than the line's time.
    LineTooSlow,
    NoBackend,
    Connect,
    ConnectTimeout,
    /// The proxy itself has no socket for it.
    NoSocket,
    ResponseTimeout,
    /// The backend closed or broke off before its response's head was whole.
    Broken,
    /// A protocol that was not asked for.
    Switched,
    BodyTooLarge,
    /// The client's body is malformed.
    BodyBroken,
    /// The client stopped within its body.
    BodyTimeout,
    RequestTimeout,
    ClientGone,
    TooManyConnections,
}

/// Names each reason once, and gives it a place in the list of them.
macro_rules! kinds {
    ($($refusal:pat => $name:literal,)*) => {
        impl Refusal {
            /// The reasons as metrics name them.
            pub(crate) const KINDS: &[&str] = &[$($name),*];

            /// As metrics name it.
            pub(crate) fn kind(self) -> &'static str {
                match self {
                    $($refusal => $name,)*
                }
            }
        }
    };
}

kinds! {
    Refusal::Fault(_) => "bad_request",
    Refusal::NoRoute => "no_route",
    Refusal::LineFull => "line_full",
    Refusal::LineTooSlow => "line_too_slow",
    Refusal::NoBackend => "no_backend",
    Refusal::Connect => "connect",
    Refusal::ConnectTimeout => "connect_timeout",
    Refusal::ResponseTimeout => "response_timeout",
    Refusal::Broken => "broken",
    Refusal::Switched => "switched",
    Refusal::BodyTooLarge => "body_too_large",
    Refusal::BodyBroken => "body_broken",
    Refusal::RequestTimeout => "request_timeout",
    Refusal::ClientGone => "client_gone",
    Refusal::LineShare => "line_share",
    Refusal::BodyTimeout => "body_timeout",
    Refusal::NoSocket => "no_socket",
    Refusal::TooManyConnections => "too_many_connections",
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Fault(fault) => {
                StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::LineFull
            | Self::LineShare
            | Self::LineTooSlow
            | Self::NoBackend
            | Self::NoSocket
            | Self::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect | Self::Broken | Self::Switched => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::ResponseTimeout | Self::RequestTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyBroken | Self::ClientGone => StatusCode::BAD_REQUEST,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// One clause, for the answer and the log.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.what(),
            Self::NoRoute => "no route leads there",
            Self::LineFull => "the line is full",
            Self::LineShare => "the client has as many requests in line as it may",
            Self::LineTooSlow => "the line takes longer than its time limit",
            Self::NoBackend => "no backend is up",
            Self::Connect => "the backend refused the connection",
            Self::ConnectTimeout => "the backend could not be connected to in time",
            Self::NoSocket => "there is no socket for another connection to a backend",
            Self::ResponseTimeout => "the backend did not begin to answer in time",
            Self::Broken => "the backend broke off",
            Self::Switched => "the backend switched protocols without being asked",
            Self::BodyTooLarge => "the body is longer than allowed",
            Self::BodyBroken => "the body is malformed",
            Self::BodyTimeout => "the body did not go on in time",
            Self::RequestTimeout => "the request took longer than its time limit",
            Self::ClientGone => "the client left",
            Self::TooManyConnections => "there are too many connections",
        }
    }

    /// Whether the client should come again later.
    pub(crate) fn invites_retry(self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether the client is why: no backend would do better, and the connection must
    /// not be used any more. Its framing is in doubt, or its body unread, or nobody is there.
    pub(crate) fn is_the_clients(self) -> bool {
        matches!(
            self,
            Self::Fault(_)
                | Self::BodyTooLarge
                | Self::BodyBroken
                | Self::BodyTimeout
                | Self::ClientGone
        )
    }

    /// Whether it says something of the backend that was tried.
    pub(crate) fn is_the_backends(self) -> bool {
        !self.is_the_clients() && self != Self::NoSocket
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Full => Self::LineFull,
            Reason::DeadlinePassed => Self::LineTooSlow,
            _ => Self::NoBackend,
        }
    }
}
