//! AES-128 as CCM is given it: on a chip a block is one call, so that the cipher stands there once, and not in each place
//! of CCM and CTR that uses it. On hosts, which have instructions for it, it is the crate's own.

#[cfg(target_os = "none")]
pub(crate) use called::Aes128;

#[cfg(not(target_os = "none"))]
pub(crate) use aes::Aes128;

#[cfg(target_os = "none")]
mod called {
    use aes::Block;
    use aes::cipher::common::{BlockSizeUser, KeySizeUser, ParBlocksSizeUser};
    use aes::cipher::consts::{U1, U16};
    use aes::cipher::inout::InOut;
    use aes::cipher::{BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, Key, KeyInit};

    /// The cipher of the crate `aes`, never inlined.
    pub(crate) struct Aes128(aes::Aes128);

    impl KeySizeUser for Aes128 {
        type KeySize = U16;
    }

    impl KeyInit for Aes128 {
        #[inline(never)]
        fn new(key: &Key<Self>) -> Self {
            Self(aes::Aes128::new(key))
        }
    }

    impl BlockSizeUser for Aes128 {
        type BlockSize = U16;
    }

    impl ParBlocksSizeUser for Aes128 {
        type ParBlocksSize = U1;
    }

    impl BlockCipherEncrypt for Aes128 {
        fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = Self::BlockSize>) {
            f.call(self);
        }
    }

    impl BlockCipherEncBackend for Aes128 {
        #[inline(never)]
        fn encrypt_block(&self, block: InOut<'_, '_, Block>) {
            self.0.encrypt_block_inout(block);
        }
    }
}
