//! The side that clients see.

mod screen;
