//! A connection: bytes in, answers out, frames on their way to the store in between.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use kinglet_wire::keys::DeviceId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};

use super::conversation::{Ask, Conversation, Goodbye, Topics, goodbye};
use super::login::{self, Member};
use super::sessions::{Entered, Note};
use super::speech::{Login, Why};
use super::take::{Taken, take};
use super::{IN_FLIGHT_MAX, LOGIN_LEN_MAX};
use crate::core::Core;

/// Room for what comes at once; more comes the next time.
const READ_LEN: usize = 4096;
/// How often a connection that only pings asks the store whether its device was revoked by another process.
const REVOKED_EVERY: Duration = Duration::from_secs(30);

/// Serves one connection until it ends. `login_place` is given up once somebody has logged in.
pub(super) async fn serve<S>(stream: S, core: Arc<Core>, login_place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut wire = Wire {
        stream,
        input: BytesMut::with_capacity(LOGIN_LEN_MAX),
        out: BytesMut::new(),
        patience: Duration::from_millis(core.config.request_timeout_ms),
    };
    let mut conversation = Conversation::new();
    let limit = Duration::from_millis(core.config.handshake_timeout_ms);
    let greeted = timeout(limit, greet(&mut wire, &mut conversation, &core)).await;
    let Ok(Some((member, keep_alive))) = greeted else {
        // Whatever was to be said is in `out`; who is too slow to read it gets a cut connection.
        let _ = timeout(limit, wire.flush()).await;
        return;
    };
    drop(login_place);
    let entered = core.sessions.enter(member.id, member.client_id.clone());
    tracing::debug!(device = %member.id, "connected");
    let mut session = Session {
        wire,
        conversation,
        topics: Topics::of(&member.id),
        id: member.id,
        short_id: member.short_id,
        entered,
        core: &core,
        t_checked: Instant::now(),
    };
    let ended = session.run(keep_alive).await;
    if let Err(Some(goodbye)) = ended {
        tracing::debug!(device = %member.id, why = ?goodbye.why, "connection ended");
        session.conversation.part(goodbye, &mut session.wire.out);
    }
    let _ = session.wire.flush().await;
    let _ = timeout(Duration::from_secs(1), session.wire.stream.shutdown()).await;
}

/// Waits for a login and checks it; `None` if there is none to be let in.
async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    conversation: &mut Conversation,
    core: &Core,
) -> Option<(Member, Duration)> {
    let login = loop {
        match conversation.next(&mut wire.input, &mut wire.out) {
            Ok(Some(Ask::Login(login))) => break login,
            Ok(None) if wire.read().await? => {}
            _ => return None,
        }
    };
    match login::check(core, &login, core.sessions.number()).await {
        Ok(member) => {
            let (says, holds) = keep_alive(&login, core.config.mqtt_keep_alive_s);
            let assigned = member.is_assigned.then(|| member.client_id.clone());
            conversation.welcome(Topics::of(&member.id), assigned, says, &mut wire.out);
            Some((member, holds))
        }
        Err((reason, text)) => {
            tracing::debug!(?reason, "a login was refused");
            conversation.refuse(reason, text, &mut wire.out);
            None
        }
    }
}

/// What the client is told instead of its own keep-alive, and how long it may be silent: one and a half of it.
fn keep_alive(login: &Login, most_s: u16) -> (Option<u16>, Duration) {
    let asked = login.keep_alive_s;
    let (says, holds) = match asked {
        0 => (Some(most_s), most_s),
        asked if asked > most_s && login.hears_keep_alive => (Some(most_s), most_s),
        asked => (None, asked),
    };
    (says, Duration::from_millis(1500 * u64::from(holds)))
}

/// A socket and what waits before and behind it.
struct Wire<S> {
    stream: S,
    input: BytesMut,
    out: BytesMut,
    /// How long the other side may take to read.
    patience: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// False at the end, `None` if the connection broke.
    async fn read(&mut self) -> Option<bool> {
        Some(self.stream.read_buf(&mut self.input).await.ok()? > 0)
    }

    async fn flush(&mut self) -> Option<()> {
        if self.out.is_empty() {
            return Some(());
        }
        let write = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        timeout(self.patience, write).await.ok()?.ok()?;
        self.out.clear();
        Some(())
    }
}

struct Session<'a, S> {
    wire: Wire<S>,
    conversation: Conversation,
    topics: Topics,
    id: DeviceId,
    short_id: u32,
    entered: Entered<'a>,
    core: &'a Arc<Core>,
    t_checked: Instant,
}

/// How a connection ends: `Some` if the client can be told, `None` if it left or cannot be reached.
type End = Result<(), Option<Goodbye>>;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<'_, S> {
    /// Hears what there is, has its frames decided all together, answers in one packet, and waits for more. Frames that
    /// come meanwhile wait for the next turn, as they would for the store's next transaction.
    async fn run(&mut self, keep_alive: Duration) -> End {
        let mut stopping = self.core.stopping.subscribe();
        let mut heard = Instant::now();
        let silence = sleep_until(heard + keep_alive);
        tokio::pin!(silence);
        let mut batch = Vec::new();
        loop {
            let asked = self.hear(&mut batch).await;
            let is_full = batch.len() == IN_FLIGHT_MAX;
            let mut told = Ok(());
            if !batch.is_empty() {
                // What was taken in is stored and acked whatever ends the connection.
                let taken = take(self.core, self.id, self.short_id, &batch).await;
                told = self.tell(taken);
                batch.clear();
                // While nothing is read here, the client's silence says nothing.
                heard = Instant::now();
            }
            asked.and(told)?;
            if *stopping.borrow() {
                return Err(Some(goodbye(Why::ServerShuttingDown, "the server stops: come back later")));
            }
            if let Ok(goodbye) = self.entered.ended.try_recv() {
                return Err(Some(goodbye));
            }
            self.wire.flush().await.ok_or(None)?;
            if is_full {
                continue;
            }
            if self.wire.input.capacity() - self.wire.input.len() < READ_LEN / 4 {
                self.wire.input.reserve(READ_LEN);
            }
            tokio::select! {
                // What mostly comes first; the others are looked at once there is nothing to read.
                biased;
                read = self.wire.read() => match read {
                    Some(true) => heard = Instant::now(),
                    _ => return Err(None),
                },
                Ok(goodbye) = &mut self.entered.ended => return Err(Some(goodbye)),
                Some(note) = self.entered.inbox.recv() => self.pass_on(note),
                _ = stopping.changed() => {}
                () = &mut silence => {
                    let until = heard + keep_alive;
                    if until <= Instant::now() {
                        return Err(Some(goodbye(Why::KeepAliveTimeout, "nothing was heard for too long")));
                    }
                    silence.as_mut().reset(until);
                }
            }
        }
    }

    /// Reads packets until there is as much as is taken at once, or until more bytes are needed.
    async fn hear(&mut self, batch: &mut Vec<super::take::Published>) -> End {
        while batch.len() < IN_FLIGHT_MAX {
            match self.conversation.next(&mut self.wire.input, &mut self.wire.out).map_err(Some)? {
                None => return Ok(()),
                Some(Ask::Take { id, sent, payload }) => batch.push((id, sent, payload)),
                Some(Ask::Ping) => self.check_revoked().await?,
                Some(Ask::Over) => return Err(None),
                // `Conversation` lets no second login through.
                Some(Ask::Login(_)) => return Err(Some(goodbye(Why::ProtocolError, ""))),
            }
        }
        Ok(())
    }

    /// PUBACKs and downlinks of frames that were decided.
    fn tell(&mut self, taken: Taken) -> End {
        let (wants, out) = (self.conversation.wants, &mut self.wire.out);
        let speech = self.conversation.speech();
        for (id, refused) in taken.acks {
            speech.puback(id, refused, out);
        }
        for frame in taken.downlinks {
            self.entered.tell_others(|| Note::Down(frame.clone()));
            if wants.down {
                speech.publish(self.topics.down.clone(), frame, out);
            }
        }
        for piece in taken.pieces.into_iter().filter(|_| wants.piece) {
            speech.publish(self.topics.piece.clone(), piece, out);
        }
        for word in taken.words {
            self.entered.tell_others(|| Note::Refused(word));
            if wants.refused {
                speech.publish(self.topics.refused.clone(), Bytes::from_static(word.as_bytes()), out);
            }
        }
        if taken.has_failed {
            let text = "the store cannot be used now: nothing was acked, repeat later";
            return Err(Some(goodbye(Why::ServerBusy, text)));
        }
        if taken.is_revoked {
            return Err(Some(goodbye(Why::NotAuthorized, "the device was revoked")));
        }
        Ok(())
    }

    fn pass_on(&mut self, note: Note) {
        let (topic, payload): (&ByteString, Bytes) = match note {
            Note::Down(frame) if self.conversation.wants.down => (&self.topics.down, frame),
            Note::Refused(word) if self.conversation.wants.refused => {
                (&self.topics.refused, Bytes::from_static(word.as_bytes()))
            }
            _ => return,
        };
        self.conversation.speech().publish(topic.clone(), payload, &mut self.wire.out);
    }

    /// A device that sends frames is found out by its next one; this is for those that only listen.
    async fn check_revoked(&mut self) -> End {
        if self.t_checked.elapsed() < REVOKED_EVERY {
            return Ok(());
        }
        self.t_checked = Instant::now();
        match self.core.store.device_by_short_id(self.short_id).await {
            Ok(Some(row)) if row.t_revoked.is_some() => {
                Err(Some(goodbye(Why::NotAuthorized, "the device was revoked")))
            }
            _ => Ok(()),
        }
    }
}
