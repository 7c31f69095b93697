//! A node, and beside it the one in C, if `KINGLET_C_TWIN` names its program (`arduino/test/twin.c`, built by
//! `cargo xtask c`): every call goes to both, and answers, frames and flash must be the same to the byte. So each
//! promise that these tests hold the Rust node to is kept by the C node too.

use std::cell::RefCell;
use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use kinglet_codec::Model;

use crate::{
    Buffers, Config, Downlink, Flash, Identity, Ignored, MemFlash, Node, NodeError, OpenError, Reading,
    SampleTime, Stats, Transmit, What,
};

type Chip = MemFlash<Vec<u8>>;

/// A node and, where there is one, its twin.
pub(super) struct Device {
    node: Node<'static>,
    twin: Option<Twin>,
}

/// The program behind its pipes. A rig keeps one for all boots of its device.
#[derive(Clone)]
pub(super) struct Twin(Rc<RefCell<Pipes>>);

struct Pipes {
    child: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
    n_writes: u32,
}

impl Device {
    pub(super) fn open(
        flash: &mut Chip,
        identity: Identity,
        model: Model<'static>,
        buffers: Buffers<'static>,
        config: Config,
        twin: Option<&Twin>,
    ) -> Result<Self, OpenError> {
        if let Some(twin) = twin {
            twin.prepare(flash, &model, &config);
        }
        let mut before = flash.clone();
        let opened = Node::open(flash, identity, model, buffers, config);
        if let Some(twin) = twin {
            let code = match &opened {
                Ok(_) => 0,
                Err(OpenError::Flash(crate::FlashError::OutOfRange)) => FLASH_RANGE,
                Err(OpenError::Flash(_)) => FLASH,
                Err(OpenError::Foreign) => 9,
                Err(OpenError::SlotsTaken) => 10,
                Err(OpenError::BuffersTooSmall) => 5,
                Err(OpenError::FillTooSmall) => 14,
            };
            twin.call(&mut before, flash, b'O', &[], &[code]);
        }
        opened.map(|node| Self { node, twin: twin.cloned() })
    }

    pub(super) fn handle_sample(
        &mut self,
        now: u64,
        flash: &mut Chip,
        at: SampleTime,
        readings: &[Reading],
    ) -> Result<(), NodeError> {
        let mut before = flash.clone();
        let result = self.node.handle_sample(now, flash, at, readings);
        let mut args = now.to_le_bytes().to_vec();
        if let SampleTime::Unix(t_ms) = at {
            args.extend(t_ms.to_le_bytes());
        }
        args.push(readings.len() as u8);
        for reading in readings {
            let decimal = reading.unwrap_or_default();
            args.push(reading.is_some().into());
            args.extend(decimal.mantissa().to_le_bytes());
            args.push(decimal.scale());
        }
        let letter = if matches!(at, SampleTime::Now) { b'S' } else { b'U' };
        self.call(&mut before, flash, letter, &args, &[code_of(&result)]);
        result
    }

    pub(super) fn flush(&mut self, now: u64, flash: &mut Chip) -> Result<(), NodeError> {
        let mut before = flash.clone();
        let result = self.node.flush(now, flash);
        self.call(&mut before, flash, b'F', &now.to_le_bytes(), &[code_of(&result)]);
        result
    }

    pub(super) fn poll_transmit(
        &mut self,
        now: u64,
        flash: &mut Chip,
        random: &mut crate::Random<'_>,
        buf: &mut [u8],
    ) -> Result<Option<Transmit>, NodeError> {
        let mut before = flash.clone();
        let mut drawn = Vec::new();
        let mut noted = |out: &mut [u8]| {
            random(out);
            drawn.extend_from_slice(out);
        };
        let result = self.node.poll_transmit(now, flash, &mut noted, buf);
        let mut args = now.to_le_bytes().to_vec();
        args.extend((drawn.len() as u16).to_le_bytes());
        args.extend(&drawn);
        let transmit = result.as_ref().ok().copied().flatten();
        let (what, counter) = match transmit.map(|t| t.what) {
            None => (0, 0),
            Some(What::Join) => (1, 0),
            Some(What::Status { counter }) => (2, counter),
            Some(What::Data { counter }) => (3, counter),
        };
        let len = transmit.map_or(0, |t| t.len);
        let mut expected = vec![code_of(&result), what];
        expected.extend(counter.to_le_bytes());
        expected.extend((len as u16).to_le_bytes());
        expected.extend(&buf[..len]);
        expected.push(1);
        self.call(&mut before, flash, b'T', &args, &expected);
        result
    }

    pub(super) fn handle_downlink(
        &mut self,
        now: u64,
        flash: &mut Chip,
        bytes: &mut [u8],
    ) -> Result<Downlink, NodeError> {
        let (mut before, given) = (flash.clone(), bytes.to_vec());
        let result = self.node.handle_downlink(now, flash, bytes);
        let did = match &result {
            Ok(Downlink::Acked { .. }) | Err(_) if given.first() != Some(&0x58) => 0,
            Ok(Downlink::Joined { .. }) => 1,
            Ok(Downlink::Ignored(Ignored::Malformed)) | Ok(_) | Err(_) => match &result {
                Ok(Downlink::Ignored(Ignored::NotForUs)) => 3,
                Ok(Downlink::Ignored(Ignored::NotOpened)) => 4,
                Ok(Downlink::Ignored(Ignored::NotJoining)) => 5,
                Ok(Downlink::Ignored(Ignored::Command)) => 6,
                _ => 2,
            },
        };
        let mut args = now.to_le_bytes().to_vec();
        args.extend((given.len() as u16).to_le_bytes());
        args.extend(&given);
        self.call(&mut before, flash, b'D', &args, &[code_of(&result), did]);
        result
    }

    pub(super) fn set_unix_time(
        &mut self,
        now: u64,
        flash: &mut Chip,
        unix_ms: i64,
    ) -> Result<(), NodeError> {
        let mut before = flash.clone();
        let result = self.node.set_unix_time(now, flash, unix_ms);
        let args = [now.to_le_bytes(), unix_ms.to_le_bytes()].concat();
        self.call(&mut before, flash, b'X', &args, &[code_of(&result)]);
        result
    }

    pub(super) fn handle_receipt(&mut self, now: u64, what: What) {
        self.node.handle_receipt(now, what);
        let (kind, counter) = match what {
            What::Join => (1, 0),
            What::Status { counter } => (2, counter),
            What::Data { counter } => (3, counter),
        };
        let args = [&now.to_le_bytes()[..], &[kind], &counter.to_le_bytes()].concat();
        self.tell(b'R', &args);
    }

    pub(super) fn handle_join_hint(&mut self, now: u64) {
        self.node.handle_join_hint(now);
        self.tell(b'H', &now.to_le_bytes());
    }

    pub(super) fn handle_link_up(&mut self, now: u64) {
        self.node.handle_link_up(now);
        self.tell(b'L', &now.to_le_bytes());
    }

    pub(super) fn short_id(&self) -> kinglet_wire::frame::ShortId {
        self.node.short_id()
    }

    pub(super) fn stats(&self) -> Stats {
        let stats = self.node.stats();
        if let Some(twin) = &self.twin {
            let mut expected = (stats.n_samples_open as u16).to_le_bytes().to_vec();
            expected.extend((stats.n_windows_waiting as u32).to_le_bytes());
            expected.push(stats.n_in_flight as u8);
            expected.extend(stats.windows_lost.to_le_bytes());
            expected.extend(stats.generation.to_le_bytes());
            expected.extend(stats.boot.to_le_bytes());
            expected.extend(self.node.poll_at().unwrap_or(u64::MAX).to_le_bytes());
            twin.ask(b"G", &expected);
        }
        stats
    }

    pub(super) fn poll_at(&self) -> Option<u64> {
        if self.twin.is_some() {
            let _ = self.stats();
        }
        self.node.poll_at()
    }

    pub(super) fn unix_time(&self, now: u64) -> Option<i64> {
        self.node.unix_time(now)
    }

    pub(super) fn frame_len_max(&self) -> usize {
        self.node.frame_len_max()
    }

    fn call(&self, before: &mut Chip, after: &mut Chip, letter: u8, args: &[u8], expected: &[u8]) {
        if let Some(twin) = &self.twin {
            twin.call(before, after, letter, args, expected);
        }
    }

    fn tell(&self, letter: u8, args: &[u8]) {
        if let Some(twin) = &self.twin {
            twin.ask(&[&[letter], args].concat(), &[0]);
        }
    }
}

const FLASH: u8 = 7;
const FLASH_RANGE: u8 = 8;

/// The number `kgl_status` has for it.
fn code_of<T>(result: &Result<T, NodeError>) -> u8 {
    match result {
        Ok(_) => 0,
        // The C node has a word of its own for counters that are used up.
        Err(NodeError::Flash(crate::FlashError::OutOfRange)) => FLASH_RANGE,
        Err(NodeError::Flash(_)) => FLASH,
        Err(NodeError::SampleRefused) => 11,
        Err(NodeError::ChannelCount { .. } | NodeError::SampleTime) => 12,
        Err(NodeError::BufferTooSmall { .. }) => 5,
        Err(NodeError::CodeTooLong { .. }) => 13,
        Err(NodeError::Encode(_) | NodeError::Seal(_)) => u8::MAX,
    }
}

impl Twin {
    /// The twin's program, if one is named.
    pub(super) fn start() -> Option<Self> {
        let program = std::env::var_os("KINGLET_C_TWIN")?;
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let to = BufWriter::new(child.stdin.take().unwrap());
        let from = BufReader::new(child.stdout.take().unwrap());
        Some(Self(Rc::new(RefCell::new(Pipes { child, to, from, n_writes: 0 }))))
    }

    /// Gives it the model, the settings and the flash as it stands.
    fn prepare(&self, flash: &mut Chip, model: &Model<'_>, config: &Config) {
        let mut request = vec![b'M'];
        request.extend((model.bytes().len() as u32).to_le_bytes());
        request.extend(model.bytes());
        self.ask(&request, &[0]);
        let mut request = vec![b'N'];
        for n in [flash.sector_len(), flash.n_sectors(), flash.write_len()] {
            request.extend(n.to_le_bytes());
        }
        let (code_len_max, fill_len) = (config.code_len_max as u32, config.fill_len as u32);
        for n in [config.retry_min_ms, config.retry_max_ms, code_len_max, fill_len] {
            request.extend(n.to_le_bytes());
        }
        request.push(config.padding_class);
        request.push(config.link as u8);
        self.ask(&request, &[0]);
        self.copy(flash);
    }

    /// Gives it the flash's bytes.
    fn copy(&self, flash: &mut Chip) {
        let mut request = vec![b'J'];
        request.extend_from_slice(flash.bytes_mut());
        self.ask(&request, &[0]);
        self.0.borrow_mut().n_writes = flash.n_writes();
    }

    /// One call, from the flash as it was `before` to what the Rust node has made of it.
    fn call(&self, before: &mut Chip, after: &mut Chip, letter: u8, args: &[u8], expected: &[u8]) {
        if before.n_writes() != self.0.borrow().n_writes {
            // A test has written to it.
            self.copy(before);
        }
        let (until_cut, tear) = before.cut().map_or((0, 0), |cut| cut);
        let mut request = vec![letter, before.is_dead().into(), before.cut().is_some().into()];
        request.extend([until_cut, tear, before.n_writes()].iter().flat_map(|n| n.to_le_bytes()));
        request.extend(args);
        let mut expected = expected.to_vec();
        expected.push(after.is_dead().into());
        expected.extend(after.n_writes().to_le_bytes());
        self.ask(&request, &expected);
        let changed = core::mem::replace(&mut self.0.borrow_mut().n_writes, after.n_writes());
        if changed != after.n_writes() {
            self.ask(b"I", &hash(after.bytes_mut()).to_le_bytes());
        }
    }

    fn ask(&self, request: &[u8], expected: &[u8]) {
        let Pipes { to, from, .. } = &mut *self.0.borrow_mut();
        to.write_all(request).and_then(|()| to.flush()).unwrap();
        let mut answer = vec![0; expected.len()];
        let letter = char::from(request[0]);
        from.read_exact(&mut answer).unwrap_or_else(|e| panic!("the C node ended at {letter:?}: {e}"));
        assert_eq!(answer, expected, "the C node's answer to {letter:?}, and the Rust node's");
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// FNV-1a over words, as `twin.c` has it.
fn hash(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x100_0000_01b3))
}
