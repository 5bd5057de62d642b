//! What an operator sees of a balancer: `/metrics` for Prometheus and `/workers` as JSON, in one
//! form whatever its workers are.
//!
//! A face fills in an [`Overview`], and [`serve`] shows it.
#![forbid(unsafe_code)]

mod overview;
mod server;

pub use overview::{Figure, Gauge, Overview, PoolView};
pub use server::{Action, serve};
