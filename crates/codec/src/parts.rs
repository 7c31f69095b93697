//! Parts of a model that a build leaves out.
//!
//! A struct with a field of a type that has no values has none itself. So the compiler knows that a model has no such part, and
//! takes all code that would use one away, without a word at the places that do.

macro_rules! part {
    ($feature:literal, $name:ident, $mark:ident) => {
        /// Marks the part.
        #[cfg(feature = $feature)]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $mark;
        /// Marks the part: it is left out.
        #[cfg(not(feature = $feature))]
        pub(crate) type $mark = core::convert::Infallible;

        /// The mark, if the part is read.
        pub(crate) fn $name() -> Option<$mark> {
            #[cfg(feature = $feature)]
            return Some($mark);
            #[cfg(not(feature = $feature))]
            return None;
        }
    };
}

part!("counts", counts, Counts);
part!("fixed", fixed, Fixed);
part!("latent", latent, Latent);
part!("predict", predict, Predict);
part!("references", references, References);
