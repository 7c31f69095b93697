//! Many frames in one body, over HTTP and CoAP: each after its length in two bytes, most significant first. For the doors and
//! for those who knock.

/// The media type of one frame.
pub const ONE: &str = "application/vnd.kinglet.frame";
/// The media type of a list of frames.
pub const MANY: &str = "application/vnd.kinglet.frames";

/// Why a body is no list of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It ends within a frame.
    #[error("a frame is cut short: each has its length before it, two bytes, most significant first")]
    CutShort,
    /// There are more than are taken.
    #[error("too many frames in one request: send fewer at a time")]
    TooMany,
}

/// Frames as a list.
pub fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut list = Vec::with_capacity(frames.iter().map(|frame| frame.len() + 2).sum());
    for frame in frames {
        // No frame is longer: the wire's limit is below 16 bits.
        list.extend_from_slice(&u16::try_from(frame.len()).unwrap_or(u16::MAX).to_be_bytes());
        list.extend_from_slice(frame);
    }
    list
}

/// The frames of a list; allocates for at most `n_max` of them.
pub fn split(list: &[u8], n_max: usize) -> Result<Vec<&[u8]>, ListError> {
    let mut frames = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let (len, behind) = rest.split_first_chunk().ok_or(ListError::CutShort)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (frame, behind) = behind.split_at_checked(len).ok_or(ListError::CutShort)?;
        if frames.len() == n_max {
            return Err(ListError::TooMany);
        }
        frames.push(frame);
        rest = behind;
    }
    Ok(frames)
}

const _: () = assert!(kinglet_wire::FRAME_LEN_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &[u8], expected: Result<&[&[u8]], ListError>) {
        assert_eq!(split(list, 3), expected.map(<[_]>::to_vec), "{list:?}");
        if let Ok(frames) = expected {
            let frames: Vec<_> = frames.iter().map(|frame| frame.to_vec()).collect();
            assert_eq!(join(&frames), list);
        }
    }

    #[test]
    fn splits_lists_and_refuses_what_is_none() {
        check(b"", Ok(&[]));
        check(b"\0", Err(ListError::CutShort));
        check(b"\0\0", Ok(&[b""]));
        check(b"\0\x01a", Ok(&[b"a"]));
        check(b"\0\x01a\0\x02bc", Ok(&[b"a", b"bc"]));
        check(b"\0\x01a\0", Err(ListError::CutShort));
        check(b"\0\x02a", Err(ListError::CutShort));
        check(b"\xff\xffa", Err(ListError::CutShort));
        check(&[0; 6], Ok(&[b"", b"", b""]));
        check(&[0; 8], Err(ListError::TooMany));
    }
}
