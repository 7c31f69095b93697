//! Downlinks: open first, then act. New keys are written down before they are used.

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Frame, FrameRepr, Kind, kind_of, kind_on, low4};
use kinglet_wire::payload::{Ack, AckFlags, Command, Millis};
use kinglet_wire::seal::{Binding, open};
use kinglet_wire::update::SignedUpdate;

use super::{Downlink, Ignored, Node};
use crate::error::NodeError;
use crate::flash::Flash;
use crate::outbox::Released;

impl Node<'_> {
    pub(super) fn receive(&mut self, flash: &mut dyn Flash, bytes: &mut [u8]) -> Result<Downlink, NodeError> {
        // An accept says suite 0 on every link.
        if kind_of(bytes) == Ok(Kind::JoinAccept) {
            return self.receive_accept(flash, bytes);
        }
        match kind_on(bytes, self.config.link.suite()) {
            Ok(Kind::Ack) => match self.open_ack(bytes) {
                Ok(ack) => self.act_on(flash, &ack),
                Err(reason) => Ok(Downlink::Ignored(reason)),
            },
            Ok(Kind::Command) => Ok(self.open_command(bytes).unwrap_or_else(Downlink::Ignored)),
            _ => Ok(Downlink::Ignored(Ignored::Malformed)),
        }
    }

    fn receive_accept(&mut self, flash: &mut dyn Flash, bytes: &[u8]) -> Result<Downlink, NodeError> {
        let Some((joining, asked)) = self.join.under_way() else {
            return Ok(Downlink::Ignored(Ignored::NotJoining));
        };
        let Ok(accept) = joining.open(bytes, &self.join_key) else {
            return Ok(Downlink::Ignored(Ignored::NotOpened));
        };
        let secret = accept.grant.secret(&self.identity.key, &self.identity.id);
        let up = secret.up(self.config.link.suite());
        let was_set = self.clock.offset().is_some();
        let mut clock = self.clock;
        clock.learn(asked, self.now, accept.grant.time.get(), false);
        let dated = clock.offset().map(|offset| (self.outbox.state().boot, offset));
        let generation = accept.grant.generation;
        self.outbox.set_generation(flash, generation, accept.short_id, secret, dated)?;
        self.clock = clock;
        self.up = Some(up);
        self.join.done();
        self.unheard_since = None;
        // A server that makes new keys may have forgotten the bundle and the boot too.
        self.status.greet(self.now);
        if !was_set && self.clock.offset().is_some() {
            self.status.clock_was_set(self.now);
        }
        Ok(Downlink::Joined { generation })
    }

    /// An ack that is authentic and for this device. Nothing has changed yet.
    fn open_ack(&self, bytes: &mut [u8]) -> Result<Ack, Ignored> {
        Ack::parse(self.open_down(bytes)?).map_err(|_| Ignored::Malformed)
    }

    /// A command that is authentic, for this device, and to be done.
    fn open_command(&self, bytes: &mut [u8]) -> Result<Downlink, Ignored> {
        if self.config.update.is_none() {
            // It knows but one command, and that is none for it.
            return Err(Ignored::Command);
        }
        let command = Command::parse(self.open_down(bytes)?).map_err(|_| Ignored::Malformed)?;
        let now = self.clock.unix(self.now).and_then(Millis::new);
        let next = Counter::new(self.outbox.next_counter()).ok_or(Ignored::Command)?;
        if command.code != Command::UPDATE || !command.is_due(now, 0, next) {
            return Err(Ignored::Command);
        }
        let offer = SignedUpdate::parse(command.body).map_err(|_| Ignored::Malformed)?;
        Ok(Downlink::Offered(offer))
    }

    fn open_down<'b>(&self, bytes: &'b mut [u8]) -> Result<&'b [u8], Ignored> {
        let frame = Frame::checked_on(&*bytes, self.config.link.suite()).map_err(|_| Ignored::Malformed)?;
        let (FrameRepr::Ack { down } | FrameRepr::Command { down }) = FrameRepr::parse(&frame) else {
            return Err(Ignored::Malformed);
        };
        let state = self.outbox.state();
        let is_ours = self.up.is_some()
            && down.short_id == state.short_id
            && down.generation_low == low4(state.generation);
        if !is_ours {
            return Err(Ignored::NotForUs);
        }
        let key = state.secret.down(down.suite, &down.run);
        let bound = Binding { id: &self.identity.id, counter: Counter::from(down.counter), bundle: None };
        Ok(open(&key, &bound, bytes).map_err(|_| Ignored::NotOpened)?)
    }

    /// A replayed ack names nothing that still waits, so it lets go of nothing, sets no clock and ends no join.
    fn act_on(&mut self, flash: &mut dyn Flash, ack: &Ack) -> Result<Downlink, NodeError> {
        let Released { n_windows, n_present, sent, newest } = self.outbox.release(ack);
        if let Some(trial) = &mut self.trial {
            trial.acked(ack, n_present);
        }
        if let Some((id, counter)) = newest {
            self.tail.acked(id, self.outbox.state().generation, counter);
        }
        if ack.flags.has(AckFlags::REFERENCE_UNKNOWN) {
            self.tail.forget();
            self.outbox.refuse_references();
        }
        let greeted = self.status.acked(ack);
        let wants_join = ack.flags.has(AckFlags::JOIN_WANTED);
        if n_windows > 0 || greeted.is_some() {
            self.unheard_since = None;
            self.hurry_stale();
            if !wants_join {
                self.join.not_needed();
            }
        }
        if wants_join {
            self.want_join();
        }
        if ack.flags.has(AckFlags::STATUS_WANTED) {
            self.status.want(self.now);
        }
        let was_set = self.clock.offset().is_some();
        // The ack was made after the last of what it names was sent.
        let asked = greeted.map(|at| (at, true)).max(sent);
        if let Some((asked, once)) = asked {
            self.clock.learn(asked, self.now, ack.server_time.get(), once);
        }
        self.clock_learned(flash, was_set)?;
        self.outbox.save_mark(flash)?;
        Ok(Downlink::Acked { n_windows })
    }
}
