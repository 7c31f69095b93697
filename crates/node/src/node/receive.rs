//! Downlinks: open first, then act. New keys are written down before they are used.

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Frame, FrameRepr, Kind, kind_of, low4};
use kinglet_wire::payload::{Ack, AckFlags};
use kinglet_wire::seal::{Binding, open};

use super::{Downlink, Ignored, Node, SUITE};
use crate::error::NodeError;
use crate::flash::Flash;
use crate::outbox::Released;

impl Node<'_> {
    pub(super) fn receive(&mut self, flash: &mut dyn Flash, bytes: &mut [u8]) -> Result<Downlink, NodeError> {
        match kind_of(bytes) {
            Ok(Kind::JoinAccept) => self.receive_accept(flash, bytes),
            Ok(Kind::Ack) => match self.open_ack(bytes) {
                Ok(ack) => self.act_on(flash, &ack),
                Err(reason) => Ok(Downlink::Ignored(reason)),
            },
            Ok(Kind::Command) => Ok(Downlink::Ignored(Ignored::Command)),
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
        let up = secret.up(SUITE);
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
        let frame = Frame::new_checked(&*bytes).map_err(|_| Ignored::Malformed)?;
        let FrameRepr::Ack { down } = FrameRepr::parse(&frame) else { return Err(Ignored::Malformed) };
        let state = self.outbox.state();
        let is_ours = state.generation > 0
            && down.short_id == state.short_id
            && down.generation_low == low4(state.generation);
        if !is_ours {
            return Err(Ignored::NotForUs);
        }
        let key = state.secret.down(down.suite, &down.run);
        let bound = Binding { id: &self.identity.id, counter: Counter::from(down.counter), bundle: None };
        let content = open(&key, &bound, bytes).map_err(|_| Ignored::NotOpened)?;
        Ack::parse(content).map_err(|_| Ignored::Malformed)
    }

    /// A replayed ack names nothing that still waits, so it lets go of nothing, sets no clock and ends no join.
    fn act_on(&mut self, flash: &mut dyn Flash, ack: &Ack) -> Result<Downlink, NodeError> {
        let Released { n_windows, sent, newest } = self.outbox.release(ack);
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
            self.join.hint(self.now);
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
