//! Frames by CoAP over UDP: `POST coap://host/f` with a frame or a join request, answered in the acknowledgement itself, after
//! the commit, by what is sealed for the device (`docs/transports.md`); `POST coap://host/b` with a request for a piece of a bundle,
//! answered by that to who shows that it is where it says (`echo`).

mod echo;
mod message;
pub mod names;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use coap_lite::ResponseType;
use kinglet_wire::FRAME_LEN_MAX;
use kinglet_wire::frame::{Kind, kind_of};
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::core::Core;
use crate::ingest::{IngestError, Refusal};
use crate::join::JoinRefused;
use crate::pieces::NoPiece;
use echo::Echo;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use message::fuzz;
use message::{Body, Heard, Posted, Request, hear};

/// Longest datagram: a frame, and room for a header, a token and some options.
const DATAGRAM_LEN_MAX: usize = FRAME_LEN_MAX + 256;
/// Requests on their way to the store; further ones are dropped, and come again.
const IN_FLIGHT_MAX: usize = 1024;
/// Requests one address may make in a second; further ones are dropped.
const PER_ADDRESS_MAX: u32 = 500;
/// Addresses that are counted; in a second with more of them all further ones are dropped.
const ADDRESSES_MAX: usize = 65_536;
/// Answers kept for requests that come again, and for how long (EXCHANGE_LIFETIME of RFC 7252).
const ANSWERS_MAX: usize = 8192;
const ANSWER_KEPT: Duration = Duration::from_secs(247);

/// Serves until the server stops, then lets requests on their way be answered.
pub(crate) async fn serve(socket: UdpSocket, core: Arc<Core>) {
    let mut stopping = core.stopping.subscribe();
    let (socket, answers) = (Arc::new(socket), Arc::new(Answers::default()));
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let own_id = Arc::new(AtomicU16::new(0));
    let echo = Arc::new(Echo::new());
    // Closed once the last request has dropped its end.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let mut rate = Rate::default();
    let mut datagram = vec![0; DATAGRAM_LEN_MAX + 1];
    while !*stopping.borrow() {
        let received = tokio::select! {
            received = socket.recv_from(&mut datagram) => received,
            _ = stopping.changed() => break,
        };
        // An error is one of an earlier answer (its port was closed): the next datagram has nothing to do with it.
        let Ok((len, from)) = received else { continue };
        if len > DATAGRAM_LEN_MAX || !rate.allows(from.ip(), Instant::now()) {
            continue;
        }
        let request = match hear(&datagram[..len]) {
            Heard::Nothing => continue,
            Heard::Answer(answer) => {
                // What is lost is asked for again.
                let _ = socket.send_to(&answer, from).await;
                continue;
            }
            Heard::Post(request) => request,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        // Of the same message the answer is the same; a device that begins its numbers anew says something else.
        // A piece is read again rather than kept.
        let is_frame = matches!(request.posted, Posted::Frame { .. });
        let exchange = (request.is_confirmable() && is_frame).then(|| Exchange {
            from,
            id: request.id,
            sum: crc32c::crc32c(&datagram[..len]),
        });
        if let Some(exchange) = exchange {
            match answers.begin(exchange, Instant::now()) {
                Begun::New => {}
                Begun::UnderWay => continue,
                Begun::Answered(answer) => {
                    let _ = socket.send_to(&answer, from).await;
                    continue;
                }
            }
        }
        let (core, socket, answers) = (Arc::clone(&core), Arc::clone(&socket), Arc::clone(&answers));
        let (own_id, echo, alive) = (Arc::clone(&own_id), Arc::clone(&echo), alive.clone());
        tokio::spawn(async move {
            let (code, body) = match (&request.posted, &*echo) {
                (Posted::Frame { wants_all }, _) => take(&core, &request, *wants_all).await,
                (Posted::Want { echo: given }, Some(echo)) => piece(&core, &request, given, echo, from).await,
                (Posted::Want { .. }, None) => (ResponseType::ServiceUnavailable, Body::Empty),
            };
            let answer = request.reply(own_id.fetch_add(1, Ordering::Relaxed), code, body);
            match code {
                // It may be better the next time.
                ResponseType::ServiceUnavailable | ResponseType::TooManyRequests => answers.forget(exchange),
                _ => answers.end(exchange, &answer),
            }
            let _ = socket.send_to(&answer, from).await;
            drop((place, alive));
        });
    }
    drop(alive);
    let drain = Duration::from_millis(core.config.drain_timeout_ms);
    if timeout(drain, all_gone.recv()).await.is_err() {
        tracing::warn!("some CoAP requests did not end in time");
    }
}

/// From a frame or a join request to its answer.
async fn take(core: &Core, request: &Request, wants_all: bool) -> (ResponseType, Body) {
    if let Ok(Kind::JoinRequest) = kind_of(&request.payload) {
        return match core.join(&request.payload).await {
            Ok(accept) => (ResponseType::Changed, Body::Sealed(accept)),
            Err(JoinRefused::Registry(error)) => {
                tracing::error!(%error, "a join could not be decided");
                (ResponseType::ServiceUnavailable, Body::Empty)
            }
            Err(refused) => (code_of_join(&refused), hint(refused.word())),
        };
    }
    match core.ingest(&[&request.payload]).await {
        Err(IngestError::TooFast(_)) => (ResponseType::TooManyRequests, hint(Refusal::TooManyFrames.word())),
        Err(error) => {
            tracing::error!(%error, "a frame could not be stored");
            (ResponseType::ServiceUnavailable, Body::Empty)
        }
        Ok(answer) if wants_all && answer.fates.first() == Some(&None) && !answer.downlinks.is_empty() => {
            (ResponseType::Changed, Body::List(answer.downlinks))
        }
        // The ack, or what was found instead: offers stand behind it, and have no place here.
        Ok(answer) => match (answer.fates.first().copied().flatten(), answer.downlinks.into_iter().next()) {
            (None, Some(ack)) => (ResponseType::Changed, Body::Sealed(ack)),
            (None, None) => (ResponseType::Changed, Body::Empty),
            // It opened, so the device may hear under seal what to do.
            (
                Some(why @ (Refusal::CounterReuse | Refusal::TooOld | Refusal::UnknownReference)),
                Some(ack),
            ) => (code_of(why), Body::Sealed(ack)),
            (Some(why), Some(ack)) => (code_of(why), Body::Hint(ack)),
            (Some(why), None) => (code_of(why), hint(why.word())),
        },
    }
}

/// From a request for a piece to that, for an address that hears us.
async fn piece(
    core: &Core,
    request: &Request,
    given: &[u8],
    echo: &Echo,
    from: SocketAddr,
) -> (ResponseType, Body) {
    let now_ms = core.clock.now_ms();
    if request.payload.len() != kinglet_wire::piece::REQUEST_LEN {
        return (ResponseType::BadRequest, hint(NoPiece::Malformed.word()));
    }
    if !echo.takes(given, from, now_ms) {
        return (ResponseType::Unauthorized, Body::Echo(echo.value(from, now_ms)));
    }
    match core.answer_piece(&request.payload).await {
        Ok(piece) => (ResponseType::Content, Body::Piece(piece)),
        Err(NoPiece::Store(error)) => {
            tracing::error!(%error, "a piece of a bundle could not be read");
            (ResponseType::ServiceUnavailable, Body::Empty)
        }
        Err(NoPiece::NotOffered) => (ResponseType::NotFound, hint(NoPiece::NotOffered.word())),
        Err(why) => (ResponseType::BadRequest, hint(why.word())),
    }
}

fn hint(word: &str) -> Body {
    Body::Hint(word.as_bytes().to_vec())
}

fn code_of(why: Refusal) -> ResponseType {
    match why {
        Refusal::Malformed | Refusal::WrongDirection | Refusal::BadContent => ResponseType::BadRequest,
        Refusal::UnknownDevice => ResponseType::NotFound,
        Refusal::Revoked | Refusal::NotOpened | Refusal::OtherDevice => ResponseType::Forbidden,
        Refusal::TooManyFrames => ResponseType::TooManyRequests,
        _ => ResponseType::Conflict,
    }
}

fn code_of_join(why: &JoinRefused) -> ResponseType {
    match why {
        JoinRefused::Malformed => ResponseType::BadRequest,
        JoinRefused::UnknownDevice => ResponseType::NotFound,
        JoinRefused::TooMany | JoinRefused::TooFast(_) => ResponseType::TooManyRequests,
        JoinRefused::Exhausted => ResponseType::Conflict,
        _ => ResponseType::Forbidden,
    }
}

/// One message of one address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Exchange {
    from: SocketAddr,
    id: u16,
    sum: u32,
}

/// What was answered lately, for requests whose acknowledgement was lost.
#[derive(Default)]
struct Answers {
    inner: Mutex<AnswersInner>,
}

#[derive(Default)]
struct AnswersInner {
    /// `None` while it is under way.
    by_exchange: HashMap<Exchange, Option<Arc<[u8]>>>,
    order: VecDeque<(Exchange, Instant)>,
}

enum Begun {
    New,
    UnderWay,
    Answered(Arc<[u8]>),
}

impl Answers {
    fn begin(&self, exchange: Exchange, now: Instant) -> Begun {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((oldest, since)) = inner.order.front().copied()
            && (inner.order.len() >= ANSWERS_MAX || now.duration_since(since) > ANSWER_KEPT)
        {
            inner.order.pop_front();
            inner.by_exchange.remove(&oldest);
        }
        match inner.by_exchange.get(&exchange) {
            Some(Some(answer)) => Begun::Answered(Arc::clone(answer)),
            Some(None) => Begun::UnderWay,
            None => {
                inner.by_exchange.insert(exchange, None);
                inner.order.push_back((exchange, now));
                Begun::New
            }
        }
    }

    fn end(&self, exchange: Option<Exchange>, answer: &[u8]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = exchange.and_then(|exchange| inner.by_exchange.get_mut(&exchange)) {
            *kept = Some(answer.into());
        }
    }

    fn forget(&self, exchange: Option<Exchange>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exchange) = exchange {
            inner.by_exchange.remove(&exchange);
            inner.order.retain(|(kept, _)| *kept != exchange);
        }
    }
}

/// Counts requests by address, in seconds.
#[derive(Default)]
struct Rate {
    since: Option<Instant>,
    counts: HashMap<IpAddr, u32>,
}

impl Rate {
    fn allows(&mut self, from: IpAddr, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            self.since = Some(now);
            self.counts.clear();
        }
        if self.counts.len() >= ADDRESSES_MAX && !self.counts.contains_key(&from) {
            return false;
        }
        let n = self.counts.entry(from).or_default();
        *n = n.saturating_add(1);
        *n <= PER_ADDRESS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_of_each_second() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let n = (0..1000).filter(|_| rate.allows(one, now)).count();
        assert_eq!(n, PER_ADDRESS_MAX as usize);
        assert!(rate.allows(other, now));
        assert!(rate.allows(one, now + Duration::from_secs(1)));
    }

    #[test]
    fn answers_are_kept_for_a_while_and_never_too_many() {
        let (answers, now) = (Answers::default(), Instant::now());
        let from = SocketAddr::from(([192, 0, 2, 1], 5683));
        let exchange = |id: u16, sum| Exchange { from, id, sum };
        assert!(matches!(answers.begin(exchange(1, 1), now), Begun::New));
        assert!(matches!(answers.begin(exchange(1, 1), now), Begun::UnderWay));
        answers.end(Some(exchange(1, 1)), b"x");
        assert!(matches!(answers.begin(exchange(1, 1), now), Begun::Answered(answer) if *answer == *b"x"));
        assert!(
            matches!(answers.begin(exchange(1, 2), now), Begun::New),
            "other bytes under the same number"
        );
        answers.forget(Some(exchange(1, 2)));
        let later = now + ANSWER_KEPT + Duration::from_secs(1);
        assert!(matches!(answers.begin(exchange(1, 1), later), Begun::New));
        for sum in 0..2 * ANSWERS_MAX as u32 {
            answers.begin(exchange(2, sum), later);
        }
        let inner = answers.inner.lock().unwrap();
        assert!(inner.order.len() <= ANSWERS_MAX && inner.by_exchange.len() == inner.order.len());
    }
}
