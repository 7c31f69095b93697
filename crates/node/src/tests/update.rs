//! Over the air: whatever happens on the way, a device ends with a whole bundle that its server takes.

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use kinglet_codec::learn::{Outline, Parts};
use kinglet_codec::{Decimal, Grid, Model};
use kinglet_wire::keys::{DeviceId, DeviceKey};
use kinglet_wire::payload::{Command, UpdateRefused, UpdateState};
use kinglet_wire::update::{SignedUpdate, SigningKey, Update};

use super::rig::{EPOCH_MS, PERIOD_MS, Rng, model_bytes};
use super::server::{Answer, Server};
use crate::update::{BOOTS_MAX, Updates};
use crate::{BufferLens, Buffers, Config, Downlink, Identity, MemFlash, Node, NodeError, SampleTime};

const KEY: [u8; 32] = [5; 32];
const SIGNS: [u8; 32] = [8; 32];

/// The bundle a board is provisioned with, and a longer one for the same channel.
fn models() -> [&'static [u8]; 2] {
    [model_bytes(4, 60_000, "x"), model_bytes(6, 60_000, "x")]
}

fn sign(serial: u32, model: &[u8]) -> SignedUpdate {
    let identity = Model::parse(model).unwrap().identity();
    let update = Update { serial, model_len: model.len() as u32, identity };
    SigningKey::from_bytes(SIGNS).sign(&update)
}

/// What the world does to a piece on its way: gives what arrives.
type Way = Box<dyn FnMut(u32, &[u8]) -> Vec<u8>>;

struct Board {
    outbox: MemFlash<Vec<u8>>,
    bundles: MemFlash<Vec<u8>>,
    server: Server,
    provisioned: &'static [u8],
    offer: Option<(SignedUpdate, &'static [u8])>,
    way: Way,
    link_up: bool,
    now: u64,
    rng: Rng,
    n_taken: i32,
    /// Samples that were in memory when the power went.
    excused: Vec<i32>,
    n_boots: usize,
    /// Bytes of models that were asked for.
    n_asked: u32,
    state: UpdateState,
    in_use: [u8; 16],
    lost: u32,
}

impl Board {
    fn new(sector_len: u32, write_len: u32) -> Self {
        let [old, new] = models();
        let server = Server::new(DeviceId::new("cellar").unwrap(), KEY, vec![old, new]);
        Self {
            outbox: MemFlash::new(vec![0xFF; 6 * 4096], 4096, 4),
            bundles: MemFlash::new(vec![0xFF; (12 * sector_len) as usize], sector_len, write_len),
            server,
            provisioned: old,
            offer: None,
            way: Box::new(|_, bytes| bytes.to_vec()),
            link_up: true,
            now: 0,
            rng: Rng(1),
            n_taken: 0,
            excused: Vec::new(),
            n_boots: 0,
            n_asked: 0,
            state: UpdateState::default(),
            in_use: [0; 16],
            lost: 0,
        }
    }

    fn is_dead(&self) -> bool {
        self.outbox.is_dead() || self.bundles.is_dead()
    }

    /// Boots and runs until `end`, again and again where the power goes or another bundle is to be used.
    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.outbox.power_on();
            self.bundles.power_on();
            self.n_boots += 1;
            assert!(self.n_boots < 200, "boots in a circle");
            let _ = self.boot(end);
        }
    }

    fn boot(&mut self, end: u64) -> Result<(), NodeError> {
        let booted_at = self.now;
        self.now += 3;
        let key = SigningKey::from_bytes(SIGNS).public();
        let provisioned = Model::parse(self.provisioned).unwrap();
        let mut updates = Updates::open(&mut self.bundles, key, &provisioned.fingerprint())?;
        let mut bytes = vec![0; updates.model_len()];
        let len = updates.load(&mut self.bundles, &provisioned, &mut bytes)?;
        let model = len.map_or(provisioned, |len| Model::parse(&bytes[..len]).unwrap());
        self.in_use = model.fingerprint();
        self.state = updates.state();
        let need = BufferLens::of(&model);
        let (mut steps, mut workspace, mut code) =
            (vec![0; need.steps], vec![0; need.workspace], vec![0; need.code]);
        let buffers = Buffers { steps: &mut steps, workspace: &mut workspace, code: &mut code };
        let identity = Identity { id: self.server.id, key: DeviceKey::from_bytes(KEY) };
        let config = Config {
            retry_min_ms: 500,
            retry_max_ms: 20_000,
            update: Some(updates.state()),
            given_up: updates.given_up(),
            ..Config::default()
        };
        let Ok(mut node) = Node::open(&mut self.outbox, identity, model, buffers, config) else {
            assert!(self.is_dead(), "does not boot");
            return Ok(());
        };
        let mut sample_at = self.now;
        let mut offer_at = self.now + 5_000;
        while self.now < end {
            let up = self.now - booted_at;
            if self.now >= sample_at {
                let reading = Some(Decimal::new(self.n_taken.into(), 0));
                let taken = node.handle_sample(up, &mut self.outbox, SampleTime::Now, &[reading]);
                self.n_taken += 1;
                sample_at += PERIOD_MS;
                taken.or_else(|error| if self.is_dead() { Ok(()) } else { Err(error) })?;
            }
            self.exchange(&mut node, up);
            if let Some((offer, _)) = self.offer
                && self.link_up
                && self.now >= offer_at
            {
                offer_at = self.now + 60_000;
                let body = offer.to_bytes();
                let mut command =
                    self.server.command(Command::UPDATE, EPOCH_MS + self.now as i64 + 60_000, &body);
                let done = node.handle_downlink(up, &mut self.outbox, &mut command);
                if let Ok(Downlink::Offered(offer)) = done {
                    let _ = updates.handle_offer(&mut self.bundles, &offer);
                }
            }
            if let (Some(wanted), Some((_, model)), true) = (updates.wanted(up), self.offer, self.link_up) {
                self.n_asked += wanted.len;
                let (from, to) = (wanted.from as usize, (wanted.from + wanted.len) as usize);
                let bytes = (self.way)(wanted.from, &model[from..to]);
                let _ = updates.handle_bytes(up, &mut self.bundles, wanted.from, &bytes);
            }
            if let Some(verdict) = node.trial() {
                let _ = updates.handle_verdict(&mut self.bundles, verdict);
            }
            node.set_update(updates.state());
            self.state = updates.state();
            self.lost = node.stats().windows_lost;
            let n_open = node.stats().n_samples_open as i32;
            if self.is_dead() {
                self.excused.extend(self.n_taken - n_open..self.n_taken);
                return Ok(());
            }
            if updates.is_restart_due() {
                node.flush(up, &mut self.outbox)?;
                return Ok(());
            }
            self.now += 100;
        }
        let n_open = node.stats().n_samples_open as i32;
        self.excused.extend(self.n_taken - n_open..self.n_taken);
        Ok(())
    }

    fn exchange(&mut self, node: &mut Node<'_>, up: u64) {
        let mut rng = Rng(self.rng.next());
        let mut buf = vec![0; node.frame_len_max()];
        while let Ok(Some(sent)) =
            node.poll_transmit(up, &mut self.outbox, &mut |out| rng.fill(out), &mut buf)
        {
            if !self.link_up {
                continue;
            }
            let unix = EPOCH_MS + self.now as i64;
            if let Answer::Downlink(mut bytes) = self.server.handle(unix, &buf[..sent.len]) {
                let _ = node.handle_downlink(up, &mut self.outbox, &mut bytes);
            }
        }
    }

    fn offer(&mut self, serial: u32, model: &'static [u8]) {
        self.offer = Some((sign(serial, model), model));
    }

    fn uses(&self, model: &[u8]) -> bool {
        self.in_use == Model::parse(model).unwrap().fingerprint()
    }

    /// Every sample is stored once, but for those that were in memory when the power went.
    fn check_stored(&self) {
        let stored = self.server.values();
        assert!(stored.values().all(|n| *n == 1), "stored twice");
        let missing: Vec<i32> =
            (0..self.n_taken).filter(|n| !stored.contains_key(n) && !self.excused.contains(n)).collect();
        assert!(missing.len() <= self.lost as usize * 6, "{} windows lost, missing {missing:?}", self.lost);
    }
}

#[test]
fn an_offer_is_fetched_tried_and_kept() {
    let [old, new] = models();
    for (sector_len, write_len) in [(512, 1), (4096, 4), (1024, 32)] {
        let mut board = Board::new(sector_len, write_len);
        board.run(10_000);
        assert!(board.uses(old) && board.state == UpdateState::default());
        board.offer(3, new);
        board.run(110_000);
        assert!(board.uses(new), "{sector_len}, {write_len}");
        let kept = UpdateState { serial: 3, is_trial: false, refused: None };
        assert_eq!((board.state, board.n_boots, board.lost), (kept, 3, 0));
        let told = board.server.statuses.last().unwrap();
        assert_eq!((told.update, told.fingerprint), (Some(kept), board.in_use));
        assert!(board.server.statuses.iter().any(|status| status.update.unwrap().is_trial));
        board.check_stored();
        // It is what a later start begins with, and the same offer is no news to it.
        let asked = board.n_asked;
        board.run(100_000);
        assert!(board.uses(new) && board.n_asked == asked);
        // Back again, under a higher serial: into the other slot.
        board.offer(4, old);
        board.run(100_000);
        assert!(board.uses(old) && board.state.serial == 4 && !board.state.is_trial);
        board.check_stored();
    }
}

#[test]
fn a_cut_at_every_write_ends_with_a_whole_bundle() {
    let [_, new] = models();
    let story = |board: &mut Board| {
        board.run(8_000);
        board.offer(3, new);
        board.run(200_000);
    };
    let mut whole = Board::new(512, 4);
    story(&mut whole);
    let n_writes = whole.bundles.n_writes();
    assert!(n_writes > 12, "{n_writes}");
    for cut in 0..n_writes {
        for tear in [0, 9, 0xFF21, 0x1234_5677] {
            let mut board = Board::new(512, 4);
            board.bundles.cut_after(cut, tear);
            story(&mut board);
            assert!(board.uses(new), "cut {cut}, tear {tear:#x}: {:?}", board.state);
            assert!(!board.state.is_trial && board.state.serial == 3, "cut {cut}, tear {tear:#x}");
            assert_eq!(board.lost, 0);
            board.check_stored();
        }
    }
    // And where an older update has to make room for it: whatever happens, one of the two is used.
    for cut in 0..40 {
        for tear in [0, 7, 0xFF21, 0x1234_5677] {
            let mut board = Board::new(512, 4);
            story(&mut board);
            board.offer(4, models()[0]);
            board.run(200_000);
            assert!(board.uses(models()[0]) && board.state.serial == 4);
            board.bundles.cut_after(cut, tear);
            board.offer(5, new);
            board.run(200_000);
            assert!(
                board.uses(new) && board.state.serial == 5,
                "cut {cut}, tear {tear:#x}: {:?}",
                board.state
            );
            board.check_stored();
        }
    }
}

#[test]
fn a_cut_at_every_write_of_the_outbox_while_the_bundle_changes() {
    let [_, new] = models();
    let story = |board: &mut Board| {
        board.run(8_000);
        board.offer(3, new);
        board.run(60_000);
    };
    let mut whole = Board::new(4096, 4);
    story(&mut whole);
    for cut in 0..whole.outbox.n_writes() {
        let mut board = Board::new(4096, 4);
        board.outbox.cut_after(cut, cut.wrapping_mul(0x9E37_79B9));
        story(&mut board);
        assert!(board.uses(new) && !board.state.is_trial, "cut {cut}: {:?}", board.state);
        board.check_stored();
    }
}

#[test]
fn what_is_not_to_be_used_is_refused_by_name_and_the_old_bundle_goes_on() {
    let [old, new] = models();
    let refusal = |offer: SignedUpdate, model: &'static [u8]| {
        let mut board = Board::new(4096, 4);
        board.run(8_000);
        board.offer = Some((offer, model));
        board.run(120_000);
        assert!(board.uses(old));
        board.check_stored();
        assert_eq!(board.server.statuses.last().unwrap().update, Some(board.state));
        (board.state.refused.map(|(_, why)| why), board.n_asked)
    };
    let whole = sign(3, new).to_bytes();
    let mut forged = whole;
    forged[100] ^= 1;
    let forged = SignedUpdate::parse(&forged).unwrap();
    assert_eq!(refusal(forged, new), (Some(UpdateRefused::Signature), 0));
    let other = SigningKey::from_bytes([9; 32]).sign(sign(3, new).unverified());
    assert_eq!(refusal(other, new), (Some(UpdateRefused::Signature), 0));
    let long = Update { model_len: 1 << 20, ..*sign(3, new).unverified() };
    assert_eq!(refusal(SigningKey::from_bytes(SIGNS).sign(&long), new), (Some(UpdateRefused::TooLong), 0));
    // A bundle for other channels, and bytes that are none at all, are seen when they are there.
    let foreign = model_bytes(4, 60_000, "y");
    assert_eq!(refusal(sign(3, foreign), foreign), (Some(UpdateRefused::Channels), foreign.len() as u32));
    let grid = Grid { scale: 0, origin: 0, quantum: 1, bound_steps: 0, rounds: false };
    let outlines = [Outline::new("x", grid, (0, 9)), Outline::new("z", grid, (0, 9))];
    let two: &'static [u8] = Box::leak(Parts::untrained(4, 1000, &outlines).emit().into_boxed_slice());
    assert_eq!(refusal(sign(3, two), two), (Some(UpdateRefused::Channels), two.len() as u32));
    let noise: &'static [u8] = &[7; 100];
    let identity = <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(noise));
    let signed = SigningKey::from_bytes(SIGNS).sign(&Update { serial: 3, model_len: 100, identity });
    assert_eq!(refusal(signed, noise), (Some(UpdateRefused::Model), 100));
}

#[test]
fn an_older_update_is_refused_also_after_a_restart() {
    let [old, new] = models();
    let mut board = Board::new(4096, 4);
    board.run(8_000);
    board.offer(7, new);
    board.run(40_000);
    let asked = board.n_asked;
    for serial in [7, 6, 1] {
        board.offer(serial, old);
        board.run(40_000);
        assert!(board.uses(new) && board.state.serial == 7 && board.n_asked == asked, "{serial}");
    }
    assert_eq!(board.state.refused, Some((1, UpdateRefused::Older)));
}

#[test]
fn pieces_that_are_damaged_cut_or_missing_are_asked_for_again() {
    let [_, new] = models();
    for spoil in 0..3u32 {
        let mut board = Board::new(512, 4);
        board.run(8_000);
        let mut n = 0u32;
        board.way = Box::new(move |from, bytes| {
            n += 1;
            match (spoil, n % 3) {
                // One bit, once: only the hash over all of it can tell.
                (0, _) if n == 1 => bytes.iter().enumerate().map(|(i, b)| b ^ u8::from(i == 9)).collect(),
                // Cut short: what came is used, the rest asked for.
                (1, _) => bytes[..bytes.len().div_ceil(2)].to_vec(),
                // Nothing, or more than was asked for.
                (2, 1) => Vec::new(),
                (2, 2) => [bytes, &[0; 2000]].concat(),
                _ => {
                    assert!(from < 100_000);
                    bytes.to_vec()
                }
            }
        });
        board.offer(3, new);
        board.run(3_700_000);
        assert!(board.uses(new), "{spoil}: {:?}", board.state);
        board.check_stored();
    }
}

#[test]
fn a_bundle_the_server_does_not_take_is_given_up_and_not_fetched_again() {
    let [old, new] = models();
    let mut board = Board::new(4096, 4);
    board.server.refuses = Some(Model::parse(new).unwrap().fingerprint());
    board.run(8_000);
    board.offer(3, new);
    board.run(60_000);
    assert!(board.uses(new) && board.state.is_trial);
    board.run(1_200_000);
    assert!(board.uses(old), "{:?}", board.state);
    assert_eq!(board.state.refused, Some((3, UpdateRefused::NotAccepted)));
    assert_eq!(board.server.statuses.last().unwrap().update, Some(board.state));
    let asked = board.n_asked;
    assert_eq!(asked, new.len() as u32, "fetched once");
    // What was made with it is counted; everything before and after is there.
    board.run(600_000);
    assert!(board.lost > 0 && board.uses(old));
    board.check_stored();
    let stored = board.server.values();
    assert!((board.n_taken - 100..board.n_taken - 6).all(|n| stored.contains_key(&n)));
    // A later one is tried all the same.
    board.server.refuses = None;
    board.offer(4, new);
    board.run(200_000);
    assert!(board.uses(new) && board.state.serial == 4 && !board.state.is_trial);
}

#[test]
fn silence_is_no_reason_to_give_a_bundle_up() {
    let [_, new] = models();
    let mut board = Board::new(4096, 4);
    board.server.refuses = Some(Model::parse(new).unwrap().fingerprint());
    board.run(8_000);
    board.offer(3, new);
    board.run(8_000);
    board.link_up = false;
    board.run(1_200_000);
    assert!(board.uses(new) && board.state.is_trial && board.state.refused.is_none());
    board.server.refuses = None;
    board.link_up = true;
    board.run(120_000);
    assert!(board.uses(new) && !board.state.is_trial && board.state.serial == 3);
    board.check_stored();
}

#[test]
fn a_bundle_under_which_nothing_is_ever_sent_is_given_up_after_some_starts() {
    let [old, new] = models();
    let mut board = Board::new(4096, 4);
    board.run(8_000);
    board.offer(3, new);
    board.link_up = true;
    board.run(5_500);
    board.link_up = false;
    // The first start was the one above.
    for _ in 1..BOOTS_MAX {
        board.run(500);
        assert!(board.uses(new), "{:?}", board.state);
    }
    board.run(500);
    assert!(board.uses(old));
    assert_eq!(board.state.refused, Some((3, UpdateRefused::Boots)));
}

#[test]
fn another_provisioning_forgets_the_updates_of_the_one_before() {
    let [_, new] = models();
    let mut board = Board::new(4096, 4);
    board.run(8_000);
    board.offer(3, new);
    board.run(40_000);
    let base = model_bytes(8, 60_000, "x");
    let key = SigningKey::from_bytes(SIGNS).public();
    let fingerprint = Model::parse(base).unwrap().fingerprint();
    let updates = Updates::open(&mut board.bundles, key, &fingerprint).unwrap();
    assert_eq!((updates.state(), updates.model_len()), (UpdateState::default(), 0));
}
