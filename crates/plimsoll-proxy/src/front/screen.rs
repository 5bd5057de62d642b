//! A strict look at HTTP/1 bytes before they are parsed.
