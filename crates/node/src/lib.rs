//! What a device does, without IO: windows, outbox, retries, counters, join.
#![no_std]
#![forbid(unsafe_code)]
