//! What MQTT is measured against: mosquitto, and whatever only answers.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A broker that stores nothing, with its defaults otherwise.
pub(crate) struct Mosquitto {
    child: Child,
    pub(crate) addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Mosquitto {
    pub(crate) fn start() -> Option<Self> {
        let dir = tempfile::tempdir().ok()?;
        let free = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
        let addr = free.local_addr().ok()?;
        drop(free);
        let conf = dir.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\n",
            addr.port()
        );
        std::fs::write(&conf, text).ok()?;
        let program = ["mosquitto", "/usr/sbin/mosquitto"].into_iter().find_map(|program| {
            Command::new(program)
                .arg("-c")
                .arg(&conf)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        });
        let child = program?;
        for _ in 0..100 {
            if std::net::TcpStream::connect(addr).is_ok() {
                return Some(Self { child, addr, _dir: dir });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers devices with as many bytes as the server does, and does nothing else: no frame is opened, stored, or acked. What
/// sockets and threads cost here, which no server can be cheaper than.
pub(crate) struct Answering {
    pub(crate) addr: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Answering {
    /// With a PUBACK and a downlink of so many bytes.
    pub(crate) async fn start(down_len: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let down = packet(0x30, &[text(b"kinglet/device-000/down"), vec![0; down_len]].concat());
        let down: Arc<[u8]> = down.into();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&down)));
            }
        });
        Self { addr, task }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, down: Arc<[u8]>) {
    stream.set_nodelay(true).expect("an option");
    let (mut input, mut out) = (Input::default(), Vec::new());
    while input.fill(&mut stream).await {
        while let Some(packet) = input.ready() {
            match packet.first {
                0x10 => out.extend([0x20, 2, 0, 0]),
                0x82 => out.extend([0x90, 3, packet.id[0], packet.id[1], 0]),
                0x32 => {
                    out.extend([0x40, 2, packet.id[0], packet.id[1]]);
                    out.extend_from_slice(&down);
                }
                _ => {}
            }
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut len = body.len();
    loop {
        let more = if len > 127 { 0x80 } else { 0 };
        packet.push((len & 127) as u8 | more);
        len >>= 7;
        if more == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

pub(crate) fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text].concat()
}

/// A packet that has come: its first byte, and its id if it has one.
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) id: [u8; 2],
}

/// What came and was not looked at yet.
#[derive(Default)]
pub(crate) struct Input {
    bytes: BytesMut,
}

impl Input {
    /// The next packet that is here already.
    pub(crate) fn ready(&mut self) -> Option<Packet> {
        let first = *self.bytes.first()?;
        let (mut len, mut at, mut shift) = (0_usize, 1, 0);
        loop {
            let byte = *self.bytes.get(at)?;
            len |= usize::from(byte & 127) << shift;
            (at, shift) = (at + 1, shift + 7);
            if byte & 128 == 0 {
                break;
            }
        }
        let body = self.bytes.get(at..at + len)?;
        // Of a PUBLISH behind the topic, of all others in front.
        let before = if first == 0x32 { 2 + usize::from(u16::from_be_bytes([body[0], body[1]])) } else { 0 };
        let id = body.get(before..before + 2).map_or([0; 2], |id| [id[0], id[1]]);
        self.bytes.advance(at + len);
        Some(Packet { first, id })
    }

    /// First byte of the next packet. Loses nothing when it is dropped while it waits.
    pub(crate) async fn next(&mut self, stream: &mut TcpStream) -> u8 {
        loop {
            if let Some(packet) = self.ready() {
                return packet.first;
            }
            assert!(self.fill(stream).await, "the server has hung up");
        }
    }

    /// Waits for bytes; false at the end.
    async fn fill(&mut self, stream: &mut TcpStream) -> bool {
        // Of what comes together, however much room was left: only our server says more than a PUBACK.
        self.bytes.reserve(4096);
        stream.read_buf(&mut self.bytes).await.is_ok_and(|n| n > 0)
    }
}
