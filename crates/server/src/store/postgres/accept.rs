//! Taking frames in: lock their devices, look, decide, write, commit. Three round trips, however many frames.

use std::collections::BTreeSet;

use super::conn::{Conn, gives_way};
use super::decide::Known;
use super::keep;
use crate::store::{Arrival, Content, FrameId, Outcome, StoreError};

/// How often a transaction is begun anew.
const ATTEMPTS: usize = 8;

/// What became of each request.
pub(super) type Outcomes = Vec<Result<Vec<Outcome>, StoreError>>;

/// A window's or frame's number.
pub(super) type Number = (u32, FrameId);

/// All requests in one transaction, in order.
pub(super) async fn accept(conn: &Conn, requests: &[&[Arrival]]) -> Result<Outcomes, StoreError> {
    let mut ask_rows = false;
    for attempt in 1.. {
        match try_accept(conn, requests, ask_rows).await {
            Ok(Some(outcomes)) => return Ok(outcomes),
            Err(error) if conn.is_closed() => return Err(error),
            other => {
                conn.roll_back().await?;
                match other {
                    Err(error) if attempt >= ATTEMPTS || !gives_way(&error) => return Err(error),
                    Err(_) => {}
                    Ok(_) if ask_rows => {
                        return Err(StoreError::Database("a window's number was taken meanwhile".into()));
                    }
                    // The ranges were older than the rows, after an operator's surgery maybe.
                    Ok(_) => ask_rows = true,
                }
            }
        }
    }
    Err(StoreError::Closed)
}

/// One attempt; `None` if a row was there that the ranges did not know of. The rows decide: then they are asked first.
async fn try_accept(
    conn: &Conn,
    requests: &[&[Arrival]],
    ask_rows: bool,
) -> Result<Option<Outcomes>, StoreError> {
    let arrivals = || requests.iter().copied().flatten();
    let mut known = Known::default();
    let wanted = Wanted::of(arrivals());
    keep::lock_and_look(conn, &wanted, &mut known).await?;
    if ask_rows {
        let numbers: Vec<Number> = arrivals().flat_map(numbers).collect();
        for (device, id) in keep::stored(conn, &numbers).await? {
            known.settle(device, id);
        }
    }
    let seen: Vec<Number> = arrivals().flat_map(|arrival| known.to_compare(arrival)).collect();
    if !seen.is_empty() {
        keep::look_up(conn, &seen, &mut known).await?;
        let doubtful: Vec<Number> = arrivals().filter(|a| known.is_doubtful(a)).map(number).collect();
        if !doubtful.is_empty() {
            keep::sealed_again(conn, &doubtful, &mut known).await?;
        }
    }
    let outcomes = requests.iter().map(|arrivals| known.decide_all(arrivals)).collect();
    let changes = known.into_changes();
    if !keep::write(conn, &changes).await? {
        return Ok(None);
    }
    conn.commit().await?;
    Ok(Some(outcomes))
}

/// What has to be looked at before anything is decided, each once and in order: so two servers that want
/// the same devices never wait for each other in a ring.
pub(super) struct Wanted {
    pub(super) devices: Vec<i64>,
    pub(super) generations: Vec<(u32, u32)>,
    pub(super) boots: Vec<(u32, u32)>,
}

impl Wanted {
    fn of<'a>(arrivals: impl Iterator<Item = &'a Arrival>) -> Self {
        let (mut devices, mut generations, mut boots) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for arrival in arrivals {
            devices.insert(i64::from(arrival.device));
            generations.extend(numbers(arrival).map(|(device, id)| (device, id.generation)));
            if let Content::Window { uptime: Some((boot, _)), .. } = arrival.content {
                boots.insert((arrival.device, boot));
            }
        }
        Self {
            devices: devices.into_iter().collect(),
            generations: generations.into_iter().collect(),
            boots: boots.into_iter().collect(),
        }
    }
}

/// The number a frame was sealed as.
fn number(arrival: &Arrival) -> Number {
    (arrival.device, arrival.sealed_as)
}

/// The number a frame was sealed as, and the one of its content.
fn numbers(arrival: &Arrival) -> impl Iterator<Item = Number> + use<> {
    [(arrival.device, arrival.sealed_as), (arrival.device, arrival.origin)].into_iter()
}
