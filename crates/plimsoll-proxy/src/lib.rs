//! An exact least-loaded HTTP balancer, as a library.
#![forbid(unsafe_code)]

mod front;
