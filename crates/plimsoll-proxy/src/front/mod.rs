//! The side that clients see.

#[cfg_attr(not(test), expect(dead_code, reason = "the wrapper of the socket comes next"))]
mod screen;
