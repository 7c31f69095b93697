//! What MQTT is measured against: mosquitto, and whatever only answers.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::packets::{Input, PUBLISH_QOS0, PUBLISH_QOS1, packet, text};

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
        let down = packet(PUBLISH_QOS0, &[text(b"kinglet/device-000/down"), vec![0; down_len]].concat());
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
    let (mut input, mut out) = (Input::new(4096), Vec::new());
    while let Ok(n @ 1..) = stream.read(input.room()).await {
        input.came(n);
        while let Some(packet) = input.ready() {
            match packet.first {
                0x10 => out.extend([0x20, 2, 0, 0]),
                0x82 => out.extend([0x90, 3, packet.id[0], packet.id[1], 0]),
                PUBLISH_QOS1 => {
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
