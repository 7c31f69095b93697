//! Sections that may stand in the configuration several times, each with a name of its own: `[[forward]]`, `[[alert]]`, `[[lorawan]]`.

use serde::de::DeserializeOwned;

/// Most sections of one kind.
const MAX: usize = 16;

/// What such sections are called.
pub(crate) struct Sections {
    /// The key they stand under.
    pub(crate) key: &'static str,
    /// What one of them stands for, as in "a target"; more of them end in `s`.
    pub(crate) what: &'static str,
}

impl Sections {
    /// Reads all of them; the error says what to do and repeats no value but names.
    pub(crate) fn parse<S: DeserializeOwned, T>(
        &self,
        value: &toml::Value,
        read: impl Fn(S) -> Result<T, String>,
        name: impl Fn(&T) -> &str,
    ) -> Result<Vec<T>, String> {
        let Self { key, what } = self;
        let sections = value.as_array().ok_or(format!("write each {what} as a section [[{key}]]"))?;
        if sections.len() > MAX {
            return Err(format!("there are more than {MAX} {what}s"));
        }
        let mut all: Vec<T> = Vec::new();
        for section in sections {
            let section: S =
                section.clone().try_into().map_err(|e: toml::de::Error| e.message().to_owned())?;
            let one = read(section)?;
            if all.iter().any(|other| name(other) == name(&one)) {
                return Err(format!("two {what}s are called `{}`: give each its own name", name(&one)));
            }
            all.push(one);
        }
        Ok(all)
    }

    /// Whether a section may be called so.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), String> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        match (1..=32).contains(&name.len()) && name.bytes().all(fits) {
            true => Ok(()),
            false => Err(format!("a {}'s name has 1 to 32 letters, digits, `-` and `_`", self.what)),
        }
    }
}
