//! FlatBuffers as untrusted bytes: every offset is checked, nothing is followed twice, nothing is copied.

/// A table somewhere in `bytes`.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The vtable's place and length.
    vtable: (usize, usize),
}

/// A vector: where its items begin, and how many there are.
#[derive(Clone, Copy)]
pub(super) struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(super) n: usize,
}

impl<'a> Table<'a> {
    /// The root table of a file.
    pub(super) fn root(bytes: &'a [u8]) -> Option<Self> {
        Self::at(bytes, number(bytes, 0, 4)? as usize)
    }

    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let back = number(bytes, at, 4)? as u32 as i32;
        let vtable = usize::try_from(i64::try_from(at).ok()? - i64::from(back)).ok()?;
        let len = number(bytes, vtable, 2)? as usize;
        bytes.get(vtable..vtable.checked_add(len)?)?;
        Some(Self { bytes, at, vtable: (vtable, len) })
    }

    /// Where field `n` lies; `None` if it is absent.
    fn field(&self, n: usize) -> Option<usize> {
        let slot = 4 + 2 * n;
        if slot + 2 > self.vtable.1 {
            return None;
        }
        let offset = number(self.bytes, self.vtable.0 + slot, 2)? as usize;
        if offset == 0 { None } else { self.at.checked_add(offset) }
    }

    /// An unsigned number of `width` bytes, `default` if absent.
    pub(super) fn number(&self, n: usize, width: usize, default: u64) -> Option<u64> {
        self.field(n).map_or(Some(default), |at| number(self.bytes, at, width))
    }

    pub(super) fn table(&self, n: usize) -> Option<Self> {
        Self::at(self.bytes, self.follow(n)?)
    }

    /// A vector of items of `width` bytes, wholly inside the file.
    pub(super) fn items(&self, n: usize, width: usize) -> Option<Items<'a>> {
        let at = self.follow(n)?;
        let len = number(self.bytes, at, 4)? as usize;
        let at = at + 4;
        self.bytes.get(at..at.checked_add(len.checked_mul(width)?)?)?;
        Some(Items { bytes: self.bytes, at, n: len })
    }

    fn follow(&self, n: usize) -> Option<usize> {
        let at = self.field(n)?;
        at.checked_add(number(self.bytes, at, 4)? as usize)
    }
}

impl<'a> Items<'a> {
    /// Item `i` of a vector of tables.
    pub(super) fn table(&self, i: usize) -> Option<Table<'a>> {
        if i >= self.n {
            return None;
        }
        let at = self.at + 4 * i;
        Table::at(self.bytes, at.checked_add(number(self.bytes, at, 4)? as usize)?)
    }

    /// Item `i` of a vector of i32.
    pub(super) fn i32(&self, i: usize) -> Option<i32> {
        if i >= self.n { None } else { number(self.bytes, self.at + 4 * i, 4).map(|v| v as u32 as i32) }
    }

    /// A vector of bytes.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes.get(self.at..self.at + self.n).unwrap_or(&[])
    }
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let taken = bytes.get(at..at.checked_add(width)?)?;
    Some(taken.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}
