//! When a device on LoRaWAN is told what is stored: seldom, and then all at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::ingest::Unacked;
use crate::store::Span;

/// Counters kept for the next ack of a device: more than one ack can name.
const KEPT_MAX: usize = 64;
/// So many frames after an ack a repeat of what it named may have crossed with it.
const CROSSING: usize = 2;

/// Of each device what is stored and was not acked yet. Lost with the process: the device then repeats, and a repeat
/// brings an ack.
#[derive(Default)]
pub(super) struct Acks {
    devices: Mutex<HashMap<u32, Waiting>>,
}

#[derive(Default)]
struct Waiting {
    generation: u32,
    /// In any order.
    counters: Vec<u64>,
    last: Option<Span>,
    n_since: usize,
}

impl Acks {
    /// Notes what is stored; gives what an ack is to name, if one is due.
    pub(super) fn note(&self, stored: &Unacked, every: usize) -> Option<Span> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = devices.entry(stored.device.short_id).or_default();
        if waiting.generation != stored.id.generation {
            *waiting = Waiting { generation: stored.id.generation, ..Waiting::default() };
        }
        let counter = stored.id.counter;
        if !waiting.counters.contains(&counter) {
            waiting.counters.push(counter);
        }
        waiting.n_since += 1;
        let crossed = waiting.n_since <= CROSSING && waiting.last.is_some_and(|last| names(last, counter));
        let is_due = !stored.is_window || waiting.counters.len() >= every || stored.is_repeat && !crossed;
        if !is_due && waiting.counters.len() < KEPT_MAX {
            return None;
        }
        let span = span_of(&mut waiting.counters, stored.span)?;
        // What does not fit this ack waits for the next.
        waiting.counters.retain(|counter| !names(span, *counter));
        (waiting.last, waiting.n_since) = (Some(span), 0);
        Some(span)
    }
}

/// True if an ack of this names the counter.
fn names(span: Span, counter: u64) -> bool {
    match counter.checked_sub(span.base) {
        Some(distance) if distance < u64::from(span.run) => true,
        Some(distance) => {
            let bit = distance - u64::from(span.run);
            bit < 32 && span.bitmap >> bit & 1 == 1
        }
        None => false,
    }
}

/// What names most of these counters: the span the store knows, if it reaches back to the first, else one from there on.
fn span_of(counters: &mut [u64], known: Option<Span>) -> Option<Span> {
    counters.sort_unstable();
    let first = *counters.first()?;
    if let Some(known) = known.filter(|known| names(*known, first)) {
        return Some(known);
    }
    let mut span = Span { base: first, run: 0, bitmap: 0 };
    for counter in counters.iter() {
        let distance = counter - first;
        if distance == u64::from(span.run) {
            span.run += 1;
        } else if let Some(bit) = distance.checked_sub(span.run.into()).filter(|bit| *bit < 32) {
            span.bitmap |= 1 << bit;
        }
    }
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counters: &[u64], known: Option<(u64, u16, u32)>, expected: (u64, u16, u32), left: &[u64]) {
        let known = known.map(|(base, run, bitmap)| Span { base, run, bitmap });
        let mut counters = counters.to_vec();
        let span = span_of(&mut counters, known).unwrap();
        assert_eq!((span.base, span.run, span.bitmap), expected, "{counters:?}");
        counters.retain(|counter| !names(span, *counter));
        assert_eq!(counters, left);
    }

    #[test]
    fn one_ack_names_as_much_as_it_can() {
        check(&[7], None, (7, 1, 0), &[]);
        check(&[3, 1, 2], None, (1, 3, 0), &[]);
        // A lost frame in the middle.
        check(&[1, 2, 4, 6], None, (1, 2, 0b1010), &[]);
        check(&[1, 2, 40], None, (1, 2, 0), &[40]);
        // The store knows of more than came since the last ack.
        check(&[8, 9], Some((0, 10, 0)), (0, 10, 0), &[]);
        // Its run begins behind a gap: what is before it would be forgotten.
        check(&[4, 5, 7, 8], Some((7, 2, 0)), (4, 2, 0b110), &[]);
    }
}
