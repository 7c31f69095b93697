//! How a payload is framed, sealed, opened and accepted once.
#![no_std]
#![forbid(unsafe_code)]
