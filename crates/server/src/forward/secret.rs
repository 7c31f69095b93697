//! Where a secret is kept. The secret itself is read when it is used and is in no configuration, log or address.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::Trouble;

/// A file or an environment variable that holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; white space at its end does not count.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl SecretSource {
    /// Of the two settings `NAME_file` and `NAME_env` at most one is set.
    pub(crate) fn one(
        name: &str,
        file: Option<PathBuf>,
        env: Option<String>,
    ) -> Result<Option<Self>, String> {
        match (file, env) {
            (Some(_), Some(_)) => Err(format!("say {name}_file or {name}_env, not both")),
            (Some(path), None) => Ok(Some(Self::File(path))),
            (None, Some(name)) => Ok(Some(Self::Env(name))),
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn read(&self) -> Result<Zeroizing<String>, Trouble> {
        let text = match self {
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|e| Trouble::Target(format!("cannot read the secret in {}: {e}", path.display())))?,
            Self::Env(name) => std::env::var(name).map_err(|_| {
                Trouble::Target(format!(
                    "the environment variable {name}, which is to hold a secret, is not set"
                ))
            })?,
        };
        let text = Zeroizing::new(text);
        Ok(Zeroizing::new(text.trim_end().to_owned()))
    }
}
