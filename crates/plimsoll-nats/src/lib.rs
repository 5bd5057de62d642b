//! Exact least-loaded request/reply on NATS.
#![forbid(unsafe_code)]

mod balance;
mod dispatcher;
pub mod headers;
mod wire;
mod work;

pub use balance::{Balance, Seen, Status};
pub use dispatcher::{Counts, Dispatcher, Error, Output, Parcel, Settings, Terms};
pub use wire::{
    Answer, Beat, Delivered, Delivery, End, LONGEST_SUBJECT, LeaseId, MOST_CAPACITY, Service,
    Topic, WorkerName,
};
pub use work::{Failure, Hold, Request, Taken, Work};
