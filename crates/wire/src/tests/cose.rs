//! Every frame is a COSE_Encrypt0: a COSE library, which knows nothing of frames, opens it.

use aes::Aes128;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U13, U16};
use coset::{CborSerializable, CoseEncrypt0, RegisteredLabelWithPrivate, TaggedCborSerializable, iana};

use super::*;
use crate::ParseError;
use crate::cose::{COSE_LEN_MAX, compress, expand, external_aad};
use crate::frame::Frame;

fn expanded(case: &Case) -> Vec<u8> {
    let mut out = std::vec![0; COSE_LEN_MAX];
    let sealed = case.sealed();
    let len = expand(&Frame::new_checked(&sealed[..]).unwrap(), &case.bound(&id()), &mut out).unwrap();
    out.truncate(len);
    out
}

#[test]
fn a_cose_library_opens_every_frame() {
    for case in cases() {
        let (id, key) = (id(), case.key());
        let bound = case.bound(&id);
        let encrypt0 = CoseEncrypt0::from_tagged_slice(&expanded(&case)).unwrap();
        let headers = &encrypt0.protected.header;
        let alg = RegisteredLabelWithPrivate::Assigned(iana::Algorithm::AES_CCM_16_128_128);
        assert_eq!(headers.alg, Some(alg), "{}", case.name);
        assert_eq!(headers.key_id, id.as_bytes());

        // RFC 9052, section 3.1: the partial IV, padded on the left, XOR the Context IV.
        let mut nonce = *key.iv();
        let padding = nonce.len() - headers.partial_iv.len();
        nonce[padding..].iter_mut().zip(&headers.partial_iv).for_each(|(n, p)| *n ^= p);
        let cipher = ccm::Ccm::<Aes128, U16, U13>::new(&(*key.key()).into());
        let opened = encrypt0.decrypt_ciphertext(
            external_aad(&bound),
            || panic!("the frame has a ciphertext"),
            |sealed, aad| {
                let (content, tag) = sealed.split_last_chunk::<16>().unwrap();
                let mut content = content.to_vec();
                let done = cipher.decrypt_inout_detached(
                    &nonce.into(),
                    aad,
                    content.as_mut_slice().into(),
                    tag.into(),
                );
                done.map(|()| content)
            },
        );
        assert_eq!(opened.unwrap(), case.content, "{}", case.name);

        // And what the library writes from what it read are the same bytes.
        assert_eq!(encrypt0.to_tagged_vec().unwrap(), expanded(&case), "{}", case.name);
        assert!(CoseEncrypt0::from_slice(&expanded(&case)[1..]).is_ok());
    }
}

#[test]
fn nothing_is_lost() {
    for case in cases() {
        let mut frame = std::vec![0; 256];
        let len = compress(&expanded(&case), &mut frame).unwrap();
        assert_eq!(&frame[..len], case.sealed(), "{}", case.name);
    }
}

#[test]
fn only_the_template_is_compressed() {
    let mut out = [0; 256];
    for case in cases() {
        let cose = expanded(&case);
        for len in 0..cose.len() {
            assert!(compress(&cose[..len], &mut out).is_err());
        }
        // Every byte before the ciphertext is the template's or the frame's, but for what no frame carries:
        // the id, and the two bytes of a counter that its short form leaves out.
        let mut frame = case.sealed();
        let wide = frame[0] & 1 == 1;
        let not_carried = |at| (10..18).contains(&at) || (!wide && (21..23).contains(&at));
        let sealed_len = case.content.len() + crate::TAG_LEN;
        for at in 0..cose.len() - sealed_len {
            let mut changed = cose.clone();
            changed[at] ^= 0x01;
            let same = compress(&changed, &mut frame).is_ok_and(|len| frame[..len] == case.sealed());
            assert!(!same || not_carried(at), "{}: byte {at}", case.name);
        }
    }
    assert_eq!(compress(&[0xd1], &mut out), Err(ParseError::NeedMore { at_least: 2 }));
    assert_eq!(compress(&[0xd1, 0x83], &mut out), Err(ParseError::Malformed(crate::Field::Template)));
}
