//! The file `kinglet encode` writes: a bundle's fingerprint, then one record per window.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `KNGLCDS1` |
//! | 16 | the fingerprint of the bundle |
//! | then, per window: 8 | time of the first sample, unix ms, little-endian |
//! | 2 | length of the code, little-endian |
//! | n | the code |

/// The first bytes of every file of codes.
pub(crate) const MAGIC: [u8; 8] = *b"KNGLCDS1";
const HEADER_LEN: usize = 24;
const RECORD_LEN: usize = 10;

/// One window as it lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeRecord<'a> {
    pub(crate) t_first_ms: i64,
    pub(crate) code: &'a [u8],
}

/// The start of a file.
pub(crate) fn emit_header(fingerprint: &[u8; 16], file: &mut Vec<u8>) {
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(fingerprint);
}

/// Appends one window. `code` has at most 65,535 bytes; no model writes longer ones.
pub(crate) fn emit(record: CodeRecord<'_>, file: &mut Vec<u8>) {
    file.extend_from_slice(&record.t_first_ms.to_le_bytes());
    let code_len = u16::try_from(record.code.len()).unwrap_or(u16::MAX);
    file.extend_from_slice(&code_len.to_le_bytes());
    file.extend_from_slice(&record.code[..usize::from(code_len)]);
}

/// A file's fingerprint and the bytes of its records; `None` if this is no file of codes.
pub(crate) fn parse_header(file: &[u8]) -> Option<([u8; 16], &[u8])> {
    let rest = file.strip_prefix(&MAGIC)?;
    let fingerprint = rest.get(..16)?.try_into().ok()?;
    Some((fingerprint, &file[HEADER_LEN..]))
}

/// The file ends in the middle of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

/// Reads record after record; stops after the first error.
pub(crate) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<CodeRecord<'_>, Truncated>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = parse_record(bytes);
        match record {
            Some((_, rest)) => bytes = rest,
            None => bytes = &[],
        }
        Some(record.map(|(record, _)| record).ok_or(Truncated))
    })
}

fn parse_record(bytes: &[u8]) -> Option<(CodeRecord<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(RECORD_LEN)?;
    let t_first_ms = i64::from_le_bytes(head[..8].try_into().ok()?);
    let code_len = usize::from(u16::from_le_bytes([head[8], head[9]]));
    let (code, rest) = rest.split_at_checked(code_len)?;
    Some((CodeRecord { t_first_ms, code }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        emit_header(&[7; 16], &mut file);
        emit(CodeRecord { t_first_ms: -5, code: &[] }, &mut file);
        emit(CodeRecord { t_first_ms: 1 << 40, code: &[1, 2, 3] }, &mut file);
        file
    }

    #[test]
    fn there_and_back() {
        let file = file();
        let (fingerprint, rest) = parse_header(&file).unwrap();
        assert_eq!(fingerprint, [7; 16]);
        let read: Vec<_> = records(rest).map(Result::unwrap).collect();
        assert_eq!(read[0], CodeRecord { t_first_ms: -5, code: &[] });
        assert_eq!(read[1], CodeRecord { t_first_ms: 1 << 40, code: &[1, 2, 3] });
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn every_prefix_is_read_as_far_as_it_goes() {
        let file = file();
        for len in 0..file.len() {
            let Some((_, rest)) = parse_header(&file[..len]) else {
                assert!(len < HEADER_LEN, "{len}");
                continue;
            };
            let read: Vec<_> = records(rest).collect();
            let whole = read.iter().filter(|r| r.is_ok()).count();
            assert_eq!(whole, usize::from(len >= HEADER_LEN + RECORD_LEN), "{len}");
            let at_border = len == HEADER_LEN || len == HEADER_LEN + RECORD_LEN;
            assert_eq!(read.last().is_some_and(|r| r.is_err()), !at_border, "{len}");
        }
    }
}
