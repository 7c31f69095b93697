//! Real nodes behind a network server: ChirpStack by a real mosquitto, The Things Stack by its webhooks. Frames and acks are
//! lost on the air, the server is restarted, and what a node was told is stored is stored, once, with its own time.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod networks;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use common::{Rig, T0, bundle, decimal};
use kinglet_codec::Decimal;
use kinglet_node::{BufferLens, Buffers, Downlink, Identity, Link, MemFlash, Node, SampleTime};
use kinglet_server::readings::{Value, decode_all, to_f64};
use kinglet_wire::lorawan::{Packer, expand_downlink};
use networks::{Chirpstack, Mosquitto, Network, Tts};

const PERIOD_MS: u64 = 60_000;
const EUI: &str = "0004A30B001C0530";
const SECTOR_LEN: u32 = 4096;
/// EU868, DR0.
const FILL_LEN: usize = 51;

/// A device, its radio, and what it was told.
struct Board {
    node: Node<'static>,
    flash: MemFlash<Vec<u8>>,
    packer: Packer,
    seed: u64,
    n_acked: usize,
    n_downlinks: usize,
    n_sent: usize,
}

impl Board {
    fn new(id: kinglet_wire::keys::DeviceId, key: kinglet_wire::keys::DeviceKey, link: Link) -> Self {
        let bundle = Box::leak(Box::new(bundle("climate", 8)));
        let model = bundle.model();
        let lens = BufferLens::of(&model);
        let buffers = Buffers {
            steps: vec![0; lens.steps].leak(),
            workspace: vec![0; lens.workspace].leak(),
            code: vec![0; lens.code].leak(),
        };
        let mut flash = MemFlash::new(vec![0xff; (SECTOR_LEN * 16) as usize], SECTOR_LEN, 4);
        let config = kinglet_node::Config {
            link,
            fill_len: FILL_LEN,
            retry_min_ms: 20 * 60 * 1000,
            retry_max_ms: 40 * 60 * 1000,
            ..kinglet_node::Config::default()
        };
        let node = Node::open(&mut flash, Identity { id, key }, model, buffers, config).unwrap();
        Self { node, flash, packer: Packer::new(), seed: 7, n_acked: 0, n_downlinks: 0, n_sent: 0 }
    }

    /// xorshift64*: the same losses on every machine.
    fn roll(&mut self) -> u64 {
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    /// Sends what is due; after each uplink the network server has one downlink for it, as class A has.
    async fn send(&mut self, now: u64, loss_percent: u64, air: &mut Air<'_>) {
        let mut noise = self.roll();
        let mut random = |out: &mut [u8]| {
            for byte in out {
                noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1);
                *byte = (noise >> 33) as u8;
            }
        };
        let mut frame = vec![0; self.node.frame_len_max()];
        while let Some(sent) = self.node.poll_transmit(now, &mut self.flash, &mut random, &mut frame).unwrap()
        {
            let mut payload = [0; 300];
            let (len, port) = self.packer.pack(&frame[..sent.len], &mut payload).unwrap();
            let is_join = matches!(sent.what, kinglet_node::What::Join);
            assert!(is_join || len <= FILL_LEN, "{len} bytes do not fit DR0");
            self.n_sent += 1;
            if self.roll() % 100 >= loss_percent {
                air.up(port, &payload[..len]).await;
            }
            if let Some(downlink) = air.down().await
                && self.roll() % 100 >= loss_percent
            {
                self.hear(now, &downlink);
            }
        }
    }

    fn hear(&mut self, now: u64, downlink: &[u8]) {
        self.n_downlinks += 1;
        let mut frame = vec![0; downlink.len() + 4];
        let len = expand_downlink(downlink, self.node.short_id(), &mut frame).unwrap();
        match self.node.handle_downlink(now, &mut self.flash, &mut frame[..len]).unwrap() {
            Downlink::Acked { n_windows } => {
                self.packer.heard();
                self.n_acked += n_windows;
            }
            Downlink::Joined { .. } => {}
            // An accept that was asked for twice, an ack under the keys before.
            Downlink::Ignored(why) => assert_ne!(why, kinglet_node::Ignored::Malformed),
            other => panic!("{other:?}"),
        }
    }
}

/// What is between the radio and the server.
struct Air<'a> {
    network: &'a mut Network,
    /// Downlinks that wait for the device's next uplink.
    queue: VecDeque<Vec<u8>>,
    t_ms: i64,
}

impl Air<'_> {
    async fn up(&mut self, port: u8, payload: &[u8]) {
        let came = self.network.uplink(port, payload, self.t_ms).await;
        self.queue.extend(came);
    }

    async fn down(&mut self) -> Option<Vec<u8>> {
        self.queue.pop_front()
    }
}

fn truth(step: u64, channel: usize) -> Decimal {
    let wave = (step as f64 / 20.0).sin();
    match channel {
        0 => decimal(&format!("{:.1}", 9.0 + 4.0 * wave)),
        _ => decimal(&format!("{:.0}", 70.0 - 8.0 * wave)),
    }
}

/// A device for `n_samples` minutes and until its outbox is empty; the server is restarted in the middle.
async fn live(dir: &Path, link: Link, loss_percent: u64, network: &mut Network) -> Board {
    const N_SAMPLES: u64 = 200;
    let mut rig = Rig::start_with(dir, |config| config.apply_text("test", &network.section()).unwrap()).await;
    rig.add_bundle(&bundle("climate", 8)).await;
    let id = kinglet_server::lorawan::id_of(EUI).unwrap();
    let (row, key) = rig.core.registry.add(id.as_str(), "", T0).await.unwrap();
    let mut board = Board::new(id, key, link);
    network.server_is(rig.addr);
    let mut air = Air { network, queue: VecDeque::new(), t_ms: T0 };
    let mut step = 0;
    while step < N_SAMPLES || board.node.stats().n_windows_waiting > 0 {
        assert!(
            step < N_SAMPLES + 10_000,
            "the outbox does not drain at {loss_percent} % loss on {link:?}: {} sent, {} downlinks, {} acked, {:?}",
            board.n_sent,
            board.n_downlinks,
            board.n_acked,
            board.node.stats()
        );
        let now = step * PERIOD_MS;
        air.t_ms = T0 + now as i64;
        rig.clock.set(air.t_ms);
        if step < N_SAMPLES {
            let sample = [Some(truth(step, 0)), Some(truth(step, 1))];
            board.node.handle_sample(now, &mut board.flash, SampleTime::Now, &sample).unwrap();
        } else if step == N_SAMPLES {
            board.node.flush(now, &mut board.flash).unwrap();
        }
        board.send(now, loss_percent, &mut air).await;
        let windows = rig.core.store.windows(row.short_id, 0, i64::MAX, 100_000).await.unwrap();
        assert!(board.n_acked <= windows.len(), "acked {} of {} stored", board.n_acked, windows.len());
        if step == N_SAMPLES / 2 {
            rig.stop().await;
            let section = air.network.section();
            rig = Rig::start_with(dir, |config| config.apply_text("test", &section).unwrap()).await;
            rig.clock.set(air.t_ms);
            air.network.server_is(rig.addr);
        }
        step += 1;
    }
    assert_eq!(board.node.stats().windows_lost, 0);
    let windows = rig.core.store.windows(row.short_id, 0, i64::MAX, 100_000).await.unwrap();
    let decoded = decode_all(&rig.core.bundles, windows).await.unwrap();
    let mut seen = BTreeMap::new();
    for (_, readings) in decoded {
        let readings = readings.unwrap();
        for (t_ms, values) in readings.samples() {
            let step = (t_ms - T0) as u64 / PERIOD_MS;
            assert!(seen.insert(step, ()).is_none(), "step {step} is stored twice");
            for (channel, value) in values.iter().enumerate() {
                let Value::Number(number) = value else { panic!("{value:?}") };
                let error = (to_f64(*number) - to_f64(truth(step, channel))).abs();
                assert!(error <= to_f64(readings.channels[channel].bound) + 1e-9, "off by {error} at {step}");
            }
        }
    }
    assert_eq!(seen.len() as u64, N_SAMPLES);
    rig.stop().await;
    board
}

/// Downlinks are rare: one for several windows, and the statuses.
fn check_rare(board: &Board) {
    assert!(
        board.n_downlinks * 3 < board.n_sent,
        "{} downlinks to {} uplinks",
        board.n_downlinks,
        board.n_sent
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acked_means_stored_through_chirpstack() {
    let Some(broker) = Mosquitto::start().await else { return };
    for (link, loss_percent) in [(Link::LorawanStatic, 0), (Link::LorawanStatic, 20), (Link::Lorawan, 20)] {
        let dir = tempfile::tempdir().unwrap();
        let mut network = Network::Chirpstack(Chirpstack::new(&broker).await);
        let board = live(dir.path(), link, loss_percent, &mut network).await;
        if loss_percent == 0 {
            check_rare(&board);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acked_means_stored_through_the_things_stack() {
    for (link, loss_percent) in [(Link::LorawanStatic, 0), (Link::LorawanStatic, 20), (Link::Lorawan, 20)] {
        let dir = tempfile::tempdir().unwrap();
        let mut network = Network::Tts(Tts::start(dir.path()).await);
        let board = live(dir.path(), link, loss_percent, &mut network).await;
        if loss_percent == 0 {
            check_rare(&board);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_without_the_secret_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let network = Tts::start(dir.path()).await;
    let section = network.section();
    let rig = Rig::start_with(dir.path(), |config| config.apply_text("test", &section).unwrap()).await;
    let body = networks::tts_message(EUI, 21, &[0x42; 30], T0);
    let post = async |headers: &[(&str, &str)], body: &[u8]| {
        common::request(rig.addr, "POST", "/v1/lorawan/tts", headers, body).await
    };
    for secret in ["", "x", "not-for-the-logs", "not-for-the-lo"] {
        assert_eq!(post(&[("kinglet-secret", secret)], body.as_bytes()).await.status, 401, "{secret:?}");
    }
    assert_eq!(post(&[], body.as_bytes()).await.status, 401);
    let known = [("kinglet-secret", networks::SECRET)];
    let answer = post(&known, body.as_bytes()).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "unknown_device\n"));
    assert_eq!(post(&known, b"{\"end_device_ids\":{},\"join_accept\":{}}").await.text(), "no frame\n");
    assert_eq!(post(&known, &vec![b' '; 300 << 10]).await.status, 413);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_short_tag_opens_nothing_by_other_doors_and_static_keys_end_with_a_join() {
    use kinglet_wire::counter::Counter;
    use kinglet_wire::frame::{FrameRepr, Suite, Up};
    use kinglet_wire::lorawan::{STATIC_SHORT_ID, SUITE};
    use kinglet_wire::payload::{Quality, Reset, Status};
    use kinglet_wire::seal::{Binding, seal_content};

    let dir = tempfile::tempdir().unwrap();
    let network = Tts::start(dir.path()).await;
    let section = network.section();
    let rig = Rig::start_with(dir.path(), |config| config.apply_text("test", &section).unwrap()).await;
    let mut device = rig.add_device(&EUI.to_lowercase()).await;
    let secret = device.key.static_secret(&device.id);
    let status = |suite: Suite, n: u32| {
        let status = Status {
            slot: kinglet_wire::frame::Slot::default(),
            fingerprint: [1; 16],
            windows_lost: 0,
            boot: 1,
            reset: Reset::PowerOn,
            uptime: kinglet_wire::payload::Millis::new(5000).unwrap(),
            unix: None,
            quality: Quality::Unknown,
            battery_mv: None,
            update: None,
            heap_free: None,
        };
        let counter = Counter::from(n);
        let header = FrameRepr::Status { up: Up::new(suite, 0, STATIC_SHORT_ID, counter, false) };
        let bound = Binding { id: &device.id, counter, bundle: None };
        let mut frame = vec![0; 100];
        let len = seal_content(&secret.up(suite), &header, &bound, &status, &mut frame).unwrap();
        frame.truncate(len);
        frame
    };
    // Neither the suite nor the static keys are for IP.
    assert_eq!(rig.post_frame(&status(SUITE, 0)).await.json()["type"], "urn:kinglet:malformed");
    assert_eq!(
        rig.post_frame(&status(Suite::AesCcm16, 1)).await.json()["type"],
        "urn:kinglet:unknown_device"
    );

    let post = async |frame: Vec<u8>| {
        let mut payload = [0; 100];
        let (len, port) = Packer::new().pack(&frame, &mut payload).unwrap();
        let body = networks::tts_message(EUI, port, &payload[..len], T0);
        let headers = [("kinglet-secret", networks::SECRET)];
        common::request(rig.addr, "POST", "/v1/lorawan/tts", &headers, body.as_bytes()).await.text()
    };
    assert_eq!(post(status(SUITE, 2)).await, "stored\n");
    let mut forged = status(SUITE, 3);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(post(forged).await, "not_opened\n");
    assert_eq!(post(status(SUITE, 2)).await, "stored\n", "a repeat");
    let other = status(SUITE, 4);
    device.join(rig.addr, 1).await;
    assert_eq!(post(other).await, "join_required\n");
    rig.stop().await;
}
