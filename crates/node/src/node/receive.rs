//! Downlinks: open first, then act. New keys are written down before they are used.

use kinglet_wire::counter::Counter;
use kinglet_wire::frame::{Frame, FrameRepr, Kind, kind_of, kind_on, low4};
use kinglet_wire::payload::{Ack, AckFlags};
use kinglet_wire::seal::{Binding, open};

use super::{Downlink, Ignored, Node};
use crate::error::NodeError;
use crate::flash::Flash;

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
        let suite = self.config.link.suite();
        let frame = Frame::checked_on(&*bytes, suite).map_err(|_| Ignored::Malformed)?;
        let FrameRepr::Ack { down } = FrameRepr::parse(&frame) else { return Err(Ignored::Malformed) };
        let state = self.outbox.state();
        let is_ours = self.up.is_some()
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
        let (n_windows, sent) = self.outbox.release(ack);
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
