//! What an operator sees of a balancer: `/metrics` for Prometheus and `/workers` as JSON, in one
//! form whatever its workers are; and how an operator steers it.
//!
//! A face fills in an [`Overview`], puts it on a [`Desk`] with what may be done, and [`serve`]
//! shows it.
#![forbid(unsafe_code)]

mod access;
mod desk;
mod metrics;
mod overview;
mod ready;
mod server;
mod steer;

pub use access::{Access, Token, is_near, may_listen};
pub use desk::{Desk, Reload};
pub use overview::{Family, Figure, Gauge, Overview, PoolView, Serving, WorkerView};
pub use server::{Secure, serve};
pub use steer::{Order, Steer};
